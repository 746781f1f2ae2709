package dbus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus/bustest"
)

const other = "neutron-l3.radvd.0123456789ab"

// state is what the fake answers to List.
type state struct {
	mu       sync.Mutex
	sidecars []interfaces.Sidecar
	fail     string
	flags    []bool // whether a person could be asked, by call
}

func (s *state) set(sidecars ...interfaces.Sidecar) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sidecars = sidecars
}

func (s *state) refuse(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = "org.freedesktop.DBus.Error." + name
}

// await waits for that many questions.
func (s *state) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		asked := len(s.flags)
		s.mu.Unlock()
		if asked >= n {
			return
		}
	}
	t.Fatalf("not asked %d times", n)
}

func (s *state) answer(c *bustest.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flags = append(s.flags, flagged(c))
	if s.fail != "" {
		c.Fail(s.fail, "text")
		return
	}
	c.Reply(rows(s.sidecars...))
}

// watching is a monitor whose events are read one by one.
type watching struct {
	t      *testing.T
	events chan string
	end    chan error
}

func watch(t *testing.T, ctx context.Context, f *fake, p interfaces.MonitorParameters) *watching {
	t.Helper()
	w := &watching{t, make(chan string), make(chan error, 1)}
	go func() {
		for e, err := range f.client.WithInteractiveAuthentication().Monitor(ctx, p) {
			if err != nil {
				w.end <- err
				return
			}
			select {
			case w.events <- words(e):
			case <-ctx.Done():
			}
		}
	}()
	return w
}

func words(e interfaces.Event) string {
	s := string(e.Kind)
	if e.ID != nil {
		s += " " + *e.ID
	}
	if e.Sidecar == nil {
		return s
	}
	s += " " + string(e.Sidecar.Runtime.State)
	if e.Sidecar.Runtime.ProcessID != nil {
		s += fmt.Sprint(" ", *e.Sidecar.Runtime.ProcessID)
	}
	return s
}

func (w *watching) want(all ...string) {
	w.t.Helper()
	for _, want := range all {
		select {
		case got := <-w.events:
			if got != want {
				w.t.Fatalf("told %q, want %q", got, want)
			}
		case err := <-w.end:
			w.t.Fatalf("ended: %v, want %q", err, want)
		case <-soon(w.t).Done():
			w.t.Fatalf("nothing, want %q", want)
		}
	}
}

func (w *watching) wantEnd(want error) {
	w.t.Helper()
	select {
	case err := <-w.end:
		if !errors.Is(err, want) {
			w.t.Errorf("ended: %v, want %v", err, want)
		}
	case got := <-w.events:
		w.t.Errorf("told %q, want the end", got)
	case <-soon(w.t).Done():
		w.t.Error("goes on")
	}
}

func TestDBusClientMonitorsALife(t *testing.T) {
	t.Parallel()
	s := &state{}
	f := newFake(t, s.answer)
	s.set(sidecarWith(id, interfaces.StateStarting, 7))
	w := watch(t, soon(t), f, interfaces.MonitorParameters{})
	w.want("present "+id+" starting 7", "synchronized")
	f.signal(bustest.Service, "Started", id, "starting") // the state had that
	s.await(t, 2)
	s.set(sidecarWith(id, interfaces.StateReady, 8))
	f.signal(bustest.Service, "Ready", id, "ready")
	w.want("ready " + id + " ready 8")
	f.signal(":1.66", "Failed", id, "failed") // of a stranger
	f.signal(bustest.Service, "Invented", id, "failed")
	f.signal(bustest.Service, "Failed", "../etc", "failed")
	s.set(sidecarWith(id, interfaces.StateReady, 8), sidecarWith(other, interfaces.StateReady, 9))
	f.signal(bustest.Service, "Ready", other, "ready")
	w.want("ready " + other + " ready 9")
	s.set(sidecarWith(other, interfaces.StateReady, 9))
	f.signal(bustest.Service, "Stopped", id, "")
	w.want("stopped " + id)
	f.leave()
	w.wantEnd(client.ErrInterrupted)
	for i, asked := range s.flags {
		if asked != (i == 0) {
			t.Errorf("question %d: a person may be asked: %v", i, asked)
		}
	}
}

func TestDBusClientMonitorSelects(t *testing.T) {
	t.Parallel()
	s := &state{}
	f := newFake(t, s.answer)
	w := watch(t, soon(t), f, interfaces.MonitorParameters{Agent: new("neutron-l3"), Profile: new("radvd")})
	w.want("synchronized")
	s.set(sidecarWith(other, interfaces.StateReady, 9))
	f.signal(bustest.Service, "Ready", id, "ready")
	f.signal(bustest.Service, "Ready", other, "ready")
	w.want("ready " + other + " ready 9")
}

// TestDBusClientMonitorThatFallsBehind has a reader that does not read while more
// happens than is kept for it.
func TestDBusClientMonitorThatFallsBehind(t *testing.T) {
	t.Parallel()
	s := &state{}
	f := newFake(t, s.answer)
	w := watch(t, soon(t), f, interfaces.MonitorParameters{})
	w.want("synchronized")
	s.set(sidecarWith(id, interfaces.StateReady, 8))
	for range 3000 {
		f.signal(bustest.Service, "Ready", id, "ready")
	}
	overruns := 0
	for overruns == 0 {
		if got := <-w.events; got == "overrun" {
			overruns++
		} else if got != "ready "+id+" ready 8" {
			t.Fatalf("told %q", got)
		}
	}
	w.want("present "+id+" ready 8", "synchronized")
}

// TestDBusClientMonitorOfWhoHadToAuthenticate is told what everybody is told.
func TestDBusClientMonitorOfWhoHadToAuthenticate(t *testing.T) {
	t.Parallel()
	s := &state{}
	f := newFake(t, s.answer)
	w := watch(t, soon(t), f, interfaces.MonitorParameters{})
	w.want("synchronized")
	s.refuse("InteractiveAuthorizationRequired")
	f.signal(bustest.Service, "Failed", id, "failed")
	w.want("failed " + id + " failed")
	f.signal(bustest.Service, "Stopped", id, "")
	w.want("stopped " + id)
	s.refuse("AccessDenied")
	f.signal(bustest.Service, "Failed", id, "failed")
	w.wantEnd(interfaces.ErrPermissionDenied)
}

func TestDBusClientMonitorEnds(t *testing.T) {
	t.Parallel()
	s := &state{}
	f := newFake(t, s.answer)
	ctx, cancel := context.WithCancel(soon(t))
	w := watch(t, ctx, f, interfaces.MonitorParameters{})
	w.want("synchronized")
	cancel()
	w.wantEnd(context.Canceled)
	w = watch(t, soon(t), f, interfaces.MonitorParameters{})
	w.want("synchronized")
	f.Disconnect()
	w.wantEnd(client.ErrInterrupted)
	s.refuse("AccessDenied")
	watch(t, soon(t), f, interfaces.MonitorParameters{}).wantEnd(interfaces.ErrPermissionDenied)
	for range f.client.Monitor(soon(t), interfaces.MonitorParameters{}) {
		break // no more elements are given to a loop that is left
	}
}
