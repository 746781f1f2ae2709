//go:build testhost

package test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// monitoring is a monitor whose events are kept until a test looks at them.
type monitoring struct {
	events chan interfaces.Event
	end    chan error // has the error that ended it
}

// monitor begins one that lasts as long as the test at most, and takes the state
// that comes first.
func monitor(t *testing.T, c *client.Client, p interfaces.MonitorParameters) (m *monitoring, state []interfaces.Sidecar) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m = &monitoring{events: make(chan interfaces.Event, 10000), end: make(chan error, 1)}
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		for event, err := range c.Monitor(ctx, p) {
			if err != nil {
				m.end <- err
				return
			}
			m.events <- event
		}
	}()
	for e := m.next(t); e.Kind != interfaces.EventSynchronized; e = m.next(t) {
		if e.Kind != interfaces.EventPresent || e.Sidecar == nil || e.ID == nil || *e.ID != e.Sidecar.ID {
			t.Fatalf("in the state: %+v", e)
		}
		state = append(state, *e.Sidecar)
	}
	return m, state
}

// next waits for one event.
func (m *monitoring) next(t *testing.T) interfaces.Event {
	t.Helper()
	select {
	case e := <-m.events:
		return e
	case err := <-m.end:
		t.Fatalf("the monitor ended: %v", err)
	case <-time.After(slowness * 10 * time.Second):
		t.Fatal("no event")
	}
	panic("unreachable")
}

// until waits for an event of a sidecar. It returns all kinds of events that the
// sidecar had up to then but changed, of which there may be any number, and the
// last event.
func (m *monitoring) until(t *testing.T, id string, kind interfaces.EventKind) (kinds []interfaces.EventKind, last interfaces.Event) {
	t.Helper()
	for {
		e := m.next(t)
		if e.ID == nil {
			t.Fatalf("%s while waiting for %s of %s", e.Kind, kind, id)
		}
		if *e.ID != id {
			continue
		}
		if (e.Sidecar == nil) != (e.Kind == interfaces.EventStopped) {
			t.Errorf("event %s has the sidecar %v", e.Kind, e.Sidecar)
		}
		if e.Kind != interfaces.EventChanged {
			kinds = append(kinds, e.Kind)
		}
		if e.Kind == kind {
			return kinds, e
		}
	}
}

// quiet holds the monitor to say nothing but what a test wants for a moment.
func (m *monitoring) quiet(t *testing.T) {
	t.Helper()
	select {
	case e := <-m.events:
		t.Errorf("one event more: %s of %v", e.Kind, e.ID)
	case err := <-m.end:
		t.Errorf("the monitor ended: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
}

func wantKinds(t *testing.T, what string, got []interfaces.EventKind, want ...interfaces.EventKind) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// killMain kills the main process of a unit, which is not how an operator stops
// one.
func killMain(t *testing.T, unit string) {
	t.Helper()
	pid, err := strconv.Atoi(show(t, unit, "MainPID"))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("kill the main process of %s: %w", unit, err))
	}
}
