package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// gates hold starts and stops of units up until they are opened.
type gates struct{ start, stop chan struct{} }

// gated has every start wait, and every stop if stops are to wait.
func (h *fakeHost) gated(t *testing.T, stops bool) gates {
	t.Helper()
	g := gates{make(chan struct{}), make(chan struct{})}
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
		<-g.start
		return systemd.Outcome{}
	}
	if stops {
		h.units.OnStop = func(systemd.Unit) systemd.Outcome {
			<-g.stop
			return systemd.Outcome{}
		}
	}
	t.Cleanup(func() {
		for _, gate := range []chan struct{}{g.start, g.stop} {
			select {
			case <-gate:
			default:
				close(gate)
			}
		}
	})
	return g
}

// launching launches without waiting for it.
func (h *fakeHost) launching(t *testing.T, p interfaces.LaunchParameters) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := h.core.Launch(context.Background(), dhcpAgent(), p)
		done <- err
	}()
	return done
}

// stopping stops the sidecar of net-1 without waiting for it.
func (h *fakeHost) stopping(t *testing.T, caller Caller) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := h.core.Stop(context.Background(), caller, interfaces.StopParameters{ID: dnsmasqID("net-1").String()})
		done <- err
	}()
	return done
}

// inRow waits until so many hold the lock of net-1's sidecar or wait for it.
func (h *fakeHost) inRow(t *testing.T, n int) {
	t.Helper()
	waitUntil(t, "the row of the lock", func() bool {
		id := dnsmasqID("net-1")
		return h.core.locks.turns.Held(id)+h.core.locks.turns.Waiting(id) == n
	})
}

// begun waits until the unit of net-1's sidecar was started so many times.
func (h *fakeHost) begun(t *testing.T, n int) {
	t.Helper()
	waitUntil(t, "the start", func() bool { return h.units.Starts(dnsmasqID("net-1").Unit()) == n })
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// ended holds a call to end with this error.
func ended(t *testing.T, what string, done <-chan error, want error) {
	t.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s: not over within a minute", what)
	}
}

// take takes a place of the agent.
func take(t *testing.T, from interface {
	Acquire(ctx context.Context, agent string) error
}, agent string,
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := from.Acquire(ctx, agent); err != nil {
		t.Fatal(err)
	}
}

// noUnits holds that nothing is left on the host, and nothing held in the core.
func (h *fakeHost) noUnits(t *testing.T) {
	t.Helper()
	h.nothingHeld(t.Context(), t)
	if units, err := h.units.List(t.Context(), "*"); err != nil || len(units) > 0 {
		t.Errorf("units %v, %v; want none", units, err)
	}
}

// TestHardeningStopEmptiesTheQueue stops a sidecar of which one launch waits for a slot
// and two wait for that one.
func TestHardeningStopEmptiesTheQueue(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	for range 3 {
		take(t, h.core.starts, "neutron-dhcp")
	}
	var launches []<-chan error
	for i := range 3 {
		launches = append(launches, h.launching(t, dnsmasqFor("net-1")))
		h.inRow(t, i+1)
	}
	waitUntil(t, "one waits for a slot", func() bool { return h.core.starts.Waiting("neutron-dhcp") == 1 })
	ended(t, "stop", h.stopping(t, dhcpAgent()), nil)
	for _, done := range launches {
		ended(t, "launch", done, interfaces.ErrLaunchStopped)
	}
	diff(t, "starts", 0, h.starts())
	for range 3 {
		h.core.starts.Release("neutron-dhcp", 1)
	}
	h.noUnits(t)
	ended(t, "a stop of nothing", h.stopping(t, dhcpAgent()), interfaces.ErrNoSuchSidecar)
	h.launched(t)
	for _, d := range h.journal.recorded("Launch")[:3] {
		diff(t, "verdict", "failed", d.Verdict())
	}
}

// TestHardeningStopEndsAStart stops a sidecar whose start hangs, with and without a
// caller that still waits for it.
func TestHardeningStopEndsAStart(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]bool{"its caller waits": false, "its caller has gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.gated(t, false)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			launch := make(chan error, 1)
			go func() {
				_, err := h.core.Launch(ctx, dhcpAgent(), dnsmasqFor("net-1"))
				launch <- err
			}()
			h.begun(t, 1)
			want := interfaces.ErrLaunchStopped
			if leaves {
				hangUp()
				ended(t, "launch", launch, context.Canceled)
			}
			ended(t, "stop", h.stopping(t, dhcpAgent()), nil)
			if !leaves {
				ended(t, "launch", launch, want)
			}
			h.noUnits(t)
			decisions := h.journal.recorded("Launch")
			if len(decisions) != 2 || !decisions[1].Outcome || !errors.Is(decisions[1].Err, want) {
				t.Errorf("the journal has %+v, want the outcome that it was stopped", decisions)
			}
		})
	}
}

// TestHardeningStopEndsAStartThatIsNotAnsweredYet interrupts a launch when systemd has
// its request and has not answered it.
func TestHardeningStopEndsAStartThatIsNotAnsweredYet(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	h.units.Before = func(operation, _ string) error {
		if operation == "Start" {
			close(asked)
			<-answer
		}
		return nil
	}
	launch := h.launching(t, dnsmasqFor("net-1"))
	<-asked
	stop := h.stopping(t, dhcpAgent())
	h.inRow(t, 2)
	close(answer)
	ended(t, "launch", launch, interfaces.ErrLaunchStopped)
	ended(t, "stop", stop, nil)
	diff(t, "starts", 1, h.units.Starts(dnsmasqID("net-1").Unit()))
	h.noUnits(t)
}

// TestHardeningStopWhileSystemdIsAway stops a start while systemd does not answer: the
// stop is tried again until it does.
func TestHardeningStopWhileSystemdIsAway(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.gated(t, false)
	var mu sync.Mutex
	left := 3
	h.units.Before = func(operation, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if operation == "Stop" && left > 0 {
			left--
			return systemd.ErrDisconnected
		}
		return nil
	}
	launch := h.launching(t, dnsmasqFor("net-1"))
	h.begun(t, 1)
	ended(t, "stop", h.stopping(t, dhcpAgent()), nil)
	ended(t, "launch", launch, interfaces.ErrLaunchStopped)
	h.noUnits(t)
}

// TestHardeningStopOfAReplacement stops a sidecar while a launch waits for the old one
// to end.
func TestHardeningStopOfAReplacement(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	id := h.launched(t)
	h.gated(t, true) // the old one does not end by itself
	launch := h.launching(t, dnsmasqFor("net-1", "--log-dhcp"))
	waitUntil(t, "the old one is being stopped", func() bool {
		u, err := h.units.Get(t.Context(), dnsmasqID("net-1").Unit())
		return err == nil && u.ActiveState == "deactivating"
	})
	p := interfaces.StopParameters{ID: id, TimeoutUSec: new(int64(1))}
	if _, err := h.core.Stop(t.Context(), dhcpAgent(), p); err != nil {
		t.Error(err)
	}
	ended(t, "launch", launch, interfaces.ErrLaunchStopped)
	diff(t, "starts", 1, h.starts())
	h.noUnits(t)
}

// TestHardeningStopOfALaunchThatLooksOn stops a sidecar while launches that would keep
// or adopt it wait for what becomes of it.
func TestHardeningStopOfALaunchThatLooksOn(t *testing.T) {
	t.Parallel()
	for _, mode := range []interfaces.LaunchMode{interfaces.ModeKeep, interfaces.ModeAdopt} {
		h := newFakeHost(t)
		h.launched(t)
		h.units.Update(dnsmasqID("net-1").Unit(), func(u *systemd.Unit) { u.ActiveState, u.SubState = "activating", "start" })
		p := dnsmasqFor("net-1")
		p.Mode = &mode
		launch := h.launching(t, p)
		h.inRow(t, 1)
		ended(t, "stop", h.stopping(t, dhcpAgent()), nil)
		ended(t, string(mode), launch, interfaces.ErrLaunchStopped)
		diff(t, "starts", 1, h.starts())
		h.noUnits(t)
	}
}

// TestHardeningStopLeavesLaterLaunches shows that a launch that was asked for after the
// stop is carried out after it.
func TestHardeningStopLeavesLaterLaunches(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	g := h.gated(t, true)
	first := h.launching(t, dnsmasqFor("net-1"))
	h.begun(t, 1)
	stop := h.stopping(t, dhcpAgent())
	h.inRow(t, 2)
	later := h.launching(t, dnsmasqFor("net-1"))
	h.inRow(t, 3)
	close(g.start)
	close(g.stop)
	ended(t, "first", first, interfaces.ErrLaunchStopped)
	ended(t, "stop", stop, nil)
	ended(t, "later", later, nil)
	if s, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{}); err != nil || len(s) != 1 || s[0].Runtime.State != interfaces.StateReady {
		t.Errorf("then there is %+v, %v", s, err)
	}
	h.nothingHeld(t.Context(), t)
}
