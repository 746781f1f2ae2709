package varlink

import (
	"context"
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/service"
)

// endlessly is a method that sends as many replies as it is asked for, all the same
// and large, and then waits to be ended.
func endlessly(waits chan<- error) Handler {
	return Stream(func(ctx context.Context, _ service.Caller, p counted, send func(r echo, continues bool) error) error {
		for range p.Number {
			if err := send(echo{Text: "a"}, true); err != nil {
				waits <- err
				return err
			}
		}
		waits <- nil
		<-ctx.Done()
		waits <- context.Cause(ctx)
		return ctx.Err()
	})
}

func streamed(n, flags string) string {
	return `{"method":"io.tripleo.Sidecar.Stream","parameters":{"number":` + n + `}` + flags + `}`
}

const streamReply = `{"parameters":{"text":"a","list":[]},"continues":true}`

// TestVarlinkStream shows that every reply of a stream is sent at once, and that it
// needs the flag for that.
func TestVarlinkStream(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(streamed("2", ""), streamed("2", `,"oneway":true`), `{"method":"io.tripleo.Sidecar.Stream","parameters":{"number":"2"},"more":true}`)
	c.want(expectedMore, `{"parameters":{"parameter":"number","reason":"must be an integer of 64 bits"},"error":"org.varlink.service.InvalidParameter"}`)
	c.send(streamed("2", `,"more":true`))
	c.want(streamReply, streamReply)
	receive(t, server.waits)
	c.Close()
	if cause := receive(t, server.waits); !errors.Is(cause, errHangup) {
		t.Errorf("cause: %v", cause)
	}
}

// TestVarlinkStreamEndsWithTheServer shows that nobody waits for streams: they end
// at once and without an error for an answer, also if a reply is not being taken.
func TestVarlinkStreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c, stuck := server.dial(t), server.dial(t)
	c.send(streamed("1", `,"more":true`))
	c.want(streamReply)
	receive(t, server.waits)
	stuck.send(streamed("1000000", `,"more":true`))
	stuck.want(streamReply)
	time.Sleep(50 * time.Millisecond) // until the socket is full

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	if err := server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	c.want("")
	var causes []error
	for range 2 {
		causes = append(causes, receive(t, server.waits))
	}
	if cause := errors.Join(causes...); !errors.Is(cause, errEnding) || !errors.Is(cause, errWrite) {
		t.Errorf("causes: %v", cause)
	}
}
