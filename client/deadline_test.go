package client

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const soon = 100 * time.Millisecond

// within fails the test if f takes longer than a busy machine explains.
func within(t *testing.T, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestDeadlineWhileReading(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	within(t, func() {
		if _, err := c.Get(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeadlineWhileWriting(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	defer close(done)                           // before the clean-up, which waits for the handler
	c := serveRaw(t, func(net.Conn) { <-done }) // reads nothing
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	within(t, func() {
		_, err := c.Launch(ctx, interfaces.LaunchParameters{Profile: strings.Repeat("x", 8<<20)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeadlineThatHasPassedAlready(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, replying(`{}`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDeadlineWhileWaitingForOtherCalls(t *testing.T) {
	t.Parallel()
	c := newClient(t, "/nonexistent")
	for range maxCalls {
		c.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	within(t, func() {
		if _, err := c.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCancelHangsUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	noticed := make(chan error, 1)
	c := serveRaw(t, func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		cancel()
		_, err := io.Copy(io.Discard, conn)
		noticed <- err
	})
	if _, err := c.Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-noticed; err != nil {
		t.Errorf("the service saw %v and no end of the stream", err)
	}
}

func TestDefaultDeadline(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		asked *int64
		want  time.Duration
	}{
		"nothing asked": {nil, DefaultTimeout},
		"a minute":      {new(int64(60e6)), DefaultTimeout + time.Minute},
		"negative":      {new(int64(-1)), DefaultTimeout},
		"absurd":        {new(int64(math.MaxInt64)), math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := WithDeadline(t.Context(), test.asked)
			defer cancel()
			deadline, ok := ctx.Deadline()
			if got := time.Until(deadline); !ok || got > test.want || got < test.want-time.Minute {
				t.Errorf("deadline in %v, want %v", got, test.want)
			}
		})
	}
}

func TestDeadlineOfTheCallerStays(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	got, cancelGot := WithDeadline(ctx, nil)
	defer cancelGot()
	if got != ctx {
		t.Error("a context with a deadline was changed")
	}
}

// fullQueue listens without accepting, and fills the queue.
func fullQueue(t *testing.T) (path string, listener int) {
	t.Helper()
	path = socketPath(t)
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(listener) })
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrUnix{Name: path}), unix.Listen(listener, 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, unix.EAGAIN) {
			return path, listener
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return "", 0
}

func TestDeadlineWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	path, _ := fullQueue(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	within(t, func() {
		if _, err := newClient(t, path).Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestQueueThatIsFullIsWaitedFor(t *testing.T) {
	t.Parallel()
	path, listener := fullQueue(t)
	time.AfterFunc(soon, func() {
		if conn, _, err := unix.Accept(listener); err == nil {
			_ = unix.Close(conn)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := newClient(t, path).dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
