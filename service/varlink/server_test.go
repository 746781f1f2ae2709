package varlink

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// patience bounds every wait of the tests; none is meant to take that long.
const patience = time.Minute

type echo struct {
	Text   string                 `json:"text"`
	Number *int64                 `json:"number,omitempty"`
	Mode   *interfaces.LaunchMode `json:"mode,omitempty"`
	List   []string               `json:"list"`
}

type counted struct {
	Number int64 `json:"number"`
}

type nothing struct{}

// echoCall is a call that fits.
const echoCall = `{"method":"io.tripleo.Sidecar.Echo","parameters":{"text":"a","list":[]}}`

func method(name string) string { return `{"method":"io.tripleo.Sidecar.` + name + `"}` }

// methods is a small model of a service. waits gets the cause for which Wait
// was cancelled.
func methods(waits chan<- error) map[string]Handler {
	return map[string]Handler{
		"Echo": Single(func(_ context.Context, _ service.Caller, p echo) (echo, error) { return p, nil }),
		"Nil":  Single(func(context.Context, service.Caller, nothing) (echo, error) { return echo{Text: "\xff<&>"}, nil }),
		"Who":  Single(func(_ context.Context, p service.Caller, _ nothing) (service.Caller, error) { return p, nil }),
		"Wait": Single(func(ctx context.Context, _ service.Caller, _ nothing) (nothing, error) {
			waits <- nil
			<-ctx.Done()
			waits <- context.Cause(ctx)
			return nothing{}, ctx.Err()
		}),
		"Panic": Single(func(context.Context, service.Caller, nothing) (nothing, error) { panic("oh") }),
		"Count": Many(func(_ context.Context, _ service.Caller, p counted, _ bool) ([]int64, error) {
			if p.Number < 0 {
				return []int64{0}, interfaces.ErrPermissionDenied
			}
			numbers := make([]int64, p.Number)
			for i := range numbers {
				numbers[i] = int64(i)
			}
			return numbers, nil
		}, func(n int64) counted { return counted{n} }),
		"Fail": Single(func(_ context.Context, _ service.Caller, p counted) (nothing, error) {
			return nothing{}, failures[p.Number]
		}),
	}
}

// slow is a method that tells on a channel that it runs, and waits there to end.
func slow(turn chan struct{}) Handler {
	return Single(func(context.Context, service.Caller, nothing) (nothing, error) {
		turn <- struct{}{}
		<-turn
		return nothing{}, nil
	})
}

var failures = []error{
	fmt.Errorf("it is so: %w", interfaces.ErrPermissionDenied),
	interfaces.ErrExpectedMore,
	&interfaces.InvalidParameterError{Parameter: "number", Reason: "too small"},
	fmt.Errorf("agent: %w", &interfaces.TooManySidecarsError{Limit: 3}),
	errors.New("open /etc/shadow: permission denied"),
	&interfaces.LaunchFailedError{},
}

// serving is a server on a socket of its own.
type serving struct {
	*Server
	path     string
	rejected chan service.Rejection
	waits    chan error
	turn     chan struct{}       // of Slow
	asked    chan service.Caller // by Ask
}

func (s *serving) dial(t *testing.T) *rawClient { return dial(t, s.path) }

func newServing(t *testing.T, limits Limits) *serving {
	t.Helper()
	s := &serving{rejected: make(chan service.Rejection, 16), waits: make(chan error, 16), turn: make(chan struct{}), asked: make(chan service.Caller, 16)}
	all := methods(s.waits)
	all["Slow"] = slow(s.turn)
	all["Ask"] = Single(func(_ context.Context, p service.Caller, _ nothing) (nothing, error) {
		s.asked <- p
		return nothing{}, nil
	})
	all["Stream"] = endlessly(s.waits)
	server, err := NewServer(Config{
		Vendor: "TripleO", Product: "test", Version: "1", URL: "https://tripleo.io",
		Interface: Interface{interfaces.Name, interfaces.Description, all},
		Limits:    limits,
		Rejected: func(r service.Rejection) {
			select {
			case s.rejected <- r:
			default:
			}
		},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = server
	s.path = s.listen(t, "agent")
	return s
}

// listen serves one more socket until the test ends.
func (s *serving) listen(t *testing.T, agent string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := Bind(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), l, agent) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil && !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return path
}

// rawClient speaks frames.
type rawClient struct {
	*net.UnixConn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, path string) *rawClient {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &rawClient{c, t, bufio.NewReader(c)}
}

// send writes frames. A server that has hung up meanwhile is no failure here.
func (c *rawClient) send(frames ...string) {
	for _, f := range frames {
		_, _ = c.Write(append([]byte(f), 0))
	}
}

// recv returns the next reply, or "" when the connection was closed.
func (c *rawClient) recv() string {
	c.t.Helper()
	frame, err := c.r.ReadString(0)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			c.t.Fatal("no reply and no hang-up")
		}
		return ""
	}
	return frame[:len(frame)-1]
}

func (c *rawClient) want(replies ...string) {
	c.t.Helper()
	for _, want := range replies {
		if diff := cmp.Diff(want, c.recv()); diff != "" {
			c.t.Errorf("reply (-want +got):\n%s", diff)
		}
	}
}

// replyOf returns the parameters of the next reply.
func (c *rawClient) replyOf(out any) {
	c.t.Helper()
	var reply struct{ Parameters json.RawMessage }
	if err := json.Unmarshal([]byte(c.recv()), &reply); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(reply.Parameters, out); err != nil {
		c.t.Fatal(err)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
