package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

const (
	presentReply      = `{"continues": true, "parameters": {"event": {"kind": "present", "id": "a.p.0123456789ab", "sidecar": ` + readySidecar + `}}}`
	synchronizedReply = `{"continues": true, "parameters": {"event": {"kind": "synchronized"}}}`
	stoppedReply      = `{"continues": true, "parameters": {"event": {"kind": "stopped", "id": "a.p.0123456789ab", "sidecar": null}}}`
)

var (
	presentEvent      = interfaces.Event{Kind: interfaces.EventPresent, ID: new("a.p.0123456789ab"), Sidecar: &wantSidecar}
	synchronizedEvent = interfaces.Event{Kind: interfaces.EventSynchronized}
	stoppedEvent      = interfaces.Event{Kind: interfaces.EventStopped, ID: new("a.p.0123456789ab")}
)

// collect reads up to max events and the error after them.
func collect(ctx context.Context, c *Client, p interfaces.MonitorParameters, max int) (all []interfaces.Event, last error) {
	for event, err := range c.Monitor(ctx, p) {
		if err != nil {
			last = err
			continue // there must be nothing after it
		}
		if all = append(all, event); len(all) == max {
			break
		}
	}
	return all, last
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		replies []string // and then the service hangs up
		max     int
		want    []interfaces.Event
		err     error
	}{
		"a life":            {[]string{presentReply, synchronizedReply, stoppedReply}, 0, []interfaces.Event{presentEvent, synchronizedEvent, stoppedEvent}, ErrInterrupted},
		"left in the midst": {[]string{presentReply, synchronizedReply, stoppedReply}, 2, []interfaces.Event{presentEvent, synchronizedEvent}, nil},
		"left at the last":  {[]string{presentReply}, 1, []interfaces.Event{presentEvent}, nil},
		"at once":           {nil, 0, nil, ErrInterrupted},
		"refused":           {[]string{`{"error": "io.tripleo.Sidecar.Overloaded", "parameters": {"reason": "16"}}`}, 0, nil, interfaces.ErrOverloaded},
		"an older service":  {[]string{`{"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "x"}}`}, 0, nil, interfaces.ErrMethodNotFound},
		"an error later":    {[]string{presentReply, `{"error": "io.tripleo.Sidecar.HostFailure", "parameters": {"reason": "x"}}`}, 0, []interfaces.Event{presentEvent}, interfaces.ErrHostFailure},
		"one that ends it":  {[]string{strings.Replace(presentReply, "true", "false", 1)}, 0, []interfaces.Event{presentEvent}, ErrInterrupted},
		"no event":          {[]string{"{"}, 0, nil, ErrProtocol},
		"a kind to come":    {[]string{`{"continues": true, "parameters": {"event": {"kind": "frozen"}}}`}, 1, []interfaces.Event{{Kind: "frozen"}}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan string, 1)
			c := serveRaw(t, func(conn net.Conn) {
				answer(conn, sent, test.replies)
			})
			got, err := collect(t.Context(), c, interfaces.MonitorParameters{Agent: new("a")}, test.max)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			const want = `{"method":"io.tripleo.Sidecar.Monitor","parameters":{"agent":"a"},"more":true}`
			if got := <-sent; got != want {
				t.Errorf("sent %s", got)
			}
		})
	}
}

// answer sends what it was asked, and the replies.
func answer(conn net.Conn, sent chan<- string, replies []string) {
	frame := make([]byte, 1024)
	n, _ := conn.Read(frame)
	sent <- strings.TrimSuffix(string(frame[:n]), "\x00")
	for _, reply := range replies {
		_, _ = io.WriteString(conn, reply+"\x00")
	}
}

// TestMonitorEndsWithItsContext shows that a monitor that hears nothing is ended by
// its context, and that monitors do not take the places of calls.
func TestMonitorEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, func(conn net.Conn) {
		answer(conn, make(chan string, 1), []string{synchronizedReply})
		_, _ = io.Copy(io.Discard, conn)
	})
	for range maxCalls {
		c.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	within(t, func() {
		for event, err := range c.Monitor(ctx, interfaces.MonitorParameters{}) {
			if err == nil && event.Kind == interfaces.EventSynchronized {
				cancel()
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v", event, err)
			}
		}
	})
}

func TestMonitorWithoutService(t *testing.T) {
	t.Parallel()
	_, err := collect(t.Context(), newClient(t, "/nonexistent"), interfaces.MonitorParameters{}, 0)
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) {
		t.Errorf("got %v", err)
	}
}
