package varlink

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestVarlinkHangupCancels shows that the context of a call ends when its peer
// leaves, also when bytes wait unread.
func TestVarlinkHangupCancels(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	for name, more := range map[string][]string{"plain": nil, "pipelined": {echoCall, echoCall}} {
		t.Run(name, func(t *testing.T) {
			c := server.dial(t)
			c.send(method("Wait"))
			receive(t, server.waits)
			c.send(more...)
			c.Close()
			if cause := receive(t, server.waits); !errors.Is(cause, errHangup) {
				t.Errorf("cause: %v", cause)
			}
		})
	}
}

// TestVarlinkHalfCloseStillAnswers shows that a peer that has only stopped to
// write gets its replies, and that its leaving is noticed after that too.
func TestVarlinkHalfCloseStillAnswers(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(echoCall, echoCall)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.want(echoed, echoed, "")

	c = server.dial(t)
	c.send(method("Wait"))
	receive(t, server.waits)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-server.waits:
		t.Fatalf("a half-close ended the call: %v", cause)
	case <-time.After(100 * time.Millisecond):
	}
	c.Close()
	if cause := receive(t, server.waits); !errors.Is(cause, errHangup) {
		t.Errorf("cause: %v", cause)
	}
}

// TestVarlinkOnewayOutlivesItsSender shows that a oneway call is carried out
// although nobody is there any more.
func TestVarlinkOnewayOutlivesItsSender(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(`{"method":"io.tripleo.Sidecar.Wait","oneway":true}`)
	c.Close()
	receive(t, server.waits)
	select {
	case cause := <-server.waits:
		t.Errorf("the call ended: %v", cause)
	case <-time.After(100 * time.Millisecond):
	}
	server.Remove("agent")
	receive(t, server.waits)
}

// TestVarlinkOnewayIsTold shows that a method knows whether its caller waits.
func TestVarlinkOnewayIsTold(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(`{"method":"io.tripleo.Sidecar.Ask","oneway":true}`, method("Ask"))
	for _, want := range []bool{true, false} {
		if got := receive(t, server.asked); got.Oneway != want {
			t.Errorf("oneway %v, want %v", got.Oneway, want)
		}
	}
}

// TestVarlinkCallOfTheDeparted shows that a call whose peer has left before its
// turn is not begun.
func TestVarlinkCallOfTheDeparted(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(`{"method":"io.tripleo.Sidecar.Slow","oneway":true}`, method("Wait"))
	receive(t, server.turn)
	c.Close()
	server.turn <- struct{}{}
	select {
	case <-server.waits:
		t.Error("it was begun")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestVarlinkRemove shows that an agent that is removed loses its socket and its
// calls, and that others keep theirs.
func TestVarlinkRemove(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	other := dial(t, server.listen(t, "other"))
	c := server.dial(t)
	c.send(method("Wait"))
	receive(t, server.waits)
	server.Remove("agent")
	if cause := receive(t, server.waits); !errors.Is(cause, context.Canceled) {
		t.Errorf("cause: %v", cause)
	}
	c.want("")
	other.alive()
	if err := refused(server.path); err != nil {
		t.Error(err)
	}
}

// refused returns an error if somebody still listens at path, or if the file is
// gone.
func refused(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if refuseDead(path) == nil {
		return errors.New("somebody listens at " + path)
	}
	return nil
}

// TestVarlinkShutdown shows that a call that runs is finished, idle connections
// are closed, nothing new is let in, and a call that does not end is cancelled at
// the deadline.
func TestVarlinkShutdown(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	idle, busy := server.dial(t), server.dial(t)
	idle.alive()
	busy.send(method("Slow"), method("Slow"))
	receive(t, server.turn)

	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- server.Shutdown(ctx)
	}()
	idle.want("")
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	server.turn <- struct{}{}
	busy.want(`{"parameters":{}}`, "")
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	l, err := Bind(filepath.Join(t.TempDir(), "s"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(context.Background(), l, ""); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// TestVarlinkShutdownLosesNoCall: connections that were accepted before the end make their call
// afterwards, and one that makes none does not keep the server.
func TestVarlinkShutdownLosesNoCall(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	late, silent := server.dial(t), server.dial(t)
	for accepted := 0; accepted < 2; time.Sleep(time.Millisecond) {
		server.change(func() { accepted = len(server.conns) })
	}
	began, done := time.Now(), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- server.Shutdown(ctx)
	}()
	<-server.ending.Done()
	time.Sleep(firstCall / 10)
	late.send(method("Slow"))
	receive(t, server.turn)
	server.turn <- struct{}{}
	late.want(`{"parameters":{}}`, "")
	silent.want("")
	if err := receive(t, done); err != nil || time.Since(began) < firstCall {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestVarlinkShutdownDeadline(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	c := server.dial(t)
	c.send(method("Wait"))
	receive(t, server.waits)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	receive(t, server.waits)
	c.want("")
}

// TestVarlinkServeEndsWithItsContext shows that the end of accepting leaves the
// connections alone.
func TestVarlinkServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := Bind(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l, "") }()
	c, busy := dial(t, path), dial(t, path)
	c.alive()
	busy.send(method("Wait"))
	receive(t, server.waits)
	cancel()
	if err := receive(t, served); err != nil {
		t.Errorf("Serve: %v", err)
	}
	c.alive()
	select {
	case cause := <-server.waits:
		t.Errorf("a call ended: %v", cause)
	case <-time.After(100 * time.Millisecond):
	}
	busy.Close()
	receive(t, server.waits)
	if err := refused(path); err != nil {
		t.Error(err)
	}
}
