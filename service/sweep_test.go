package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/systemd"
)

// leave writes a note of a removal that has not worked.
func leave(t *testing.T, h *fakeHost, id interfaces.ID) {
	t.Helper()
	note := filepath.Join(filepath.Dir(h.core.Leftovers.Base), "leftovers", id.String())
	if err := errors.Join(os.MkdirAll(filepath.Dir(note), 0o700), os.WriteFile(note, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestHardeningRemovalThatNobodyFinished: a clean-up that is killed leaves its note, and
// nobody but the service sees that.
func TestHardeningRemovalThatNobodyFinished(t *testing.T) {
	t.Parallel()
	stop := func(t *testing.T, h *fakeHost, id interfaces.ID) {
		if _, err := h.core.Stop(t.Context(), operator(), interfaces.StopParameters{ID: id.String()}); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		end         func(t *testing.T, h *fakeHost, id interfaces.ID)
		left, swept bool
	}{
		"stopped, removed":  {stop, false, false},
		"stopped, left":     {stop, true, true},
		"ended, left":       {func(_ *testing.T, h *fakeHost, id interfaces.ID) { h.units.Exit(id.Unit(), 0) }, true, true},
		"failed, left":      {func(_ *testing.T, h *fakeHost, id interfaces.ID) { h.units.Exit(id.Unit(), 1) }, true, true},
		"still there, left": {func(_ *testing.T, h *fakeHost, id interfaces.ID) { h.units.Update(id.Unit(), func(*systemd.Unit) {}) }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := observed(t)
				h.launch(t, "net-0")
				time.Sleep(time.Second)
				before := h.units.Starts(sweepUnit)
				if before != 0 {
					t.Errorf("%d sweeps at the start, when nothing is left", before)
				}
				id := dnsmasqID("net-0")
				if test.left {
					leave(t, h, id)
				}
				test.end(t, h, id)
				time.Sleep(time.Second)
				if swept := h.units.Starts(sweepUnit) > before; swept != test.swept {
					t.Errorf("sweep %v, want %v", swept, test.swept)
				}
			})
		})
	}
}

// TestHardeningRemovalOfASidecarThatNobodySaw: it has begun and ended between two looks, so
// that there is no event of it.
func TestHardeningRemovalOfASidecarThatNobodySaw(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		stream := h.core.Events()
		defer stream.Close()
		time.Sleep(time.Second)
		before := h.units.Starts(sweepUnit)
		id := dnsmasqID("net-0")
		h.launch(t, "net-0")
		leave(t, h, id)
		if _, err := h.core.Stop(t.Context(), operator(), interfaces.StopParameters{ID: id.String()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if h.units.Starts(sweepUnit) == before {
			t.Error("no sweep")
		}
		if event, err := next(t, stream); err != nil || event.Kind != interfaces.EventSynchronized {
			t.Errorf("the first event is %v", event.Kind)
		}
		if event, err := next(t, stream); err == nil {
			t.Errorf("there is an event %v: this test is about a sidecar without one", event.Kind)
		}
	})
}

// next returns the next event, or an error if none waits.
func next(t *testing.T, s *events.Subscription) (interfaces.Event, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	return s.Next(ctx)
}

// TestHardeningRemovalSweepIsTriedAgain: systemd does not take the job at first.
func TestHardeningRemovalSweepIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refusals atomic.Int32
		refusals.Store(3)
		h := newFakeHost(t)
		leave(t, h, dnsmasqID("net-0"))
		h.units.Before = func(operation, name string) error {
			if operation == "Trigger" && name == sweepUnit && refusals.Load() > 0 {
				refusals.Add(-1)
				return errors.New("the bus is away")
			}
			return nil
		}
		h.observe(t)
		time.Sleep(20 * time.Second)
		if refusals.Load() != 0 || h.units.Starts(sweepUnit) == 0 {
			t.Errorf("%d refusals are left, %d sweeps; want none left, and a sweep", refusals.Load(), h.units.Starts(sweepUnit))
		}
	})
}

// TestHardeningRemovalWhileTheBusIsAway: what happened while the bus was away is looked up
// when it is back, and so are removals that have not worked; a sidecar that began and ended
// meanwhile gives no event.
func TestHardeningRemovalWhileTheBusIsAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(operation string) bool{
		"for looks": func(operation string) bool { return operation == "List" },
		"for all":   func(string) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFakeHost(t)
				var gone atomic.Bool
				h.units.Before = func(operation, _ string) error {
					if gone.Load() && away(operation) {
						return systemd.ErrDisconnected
					}
					return nil
				}
				h.observe(t)
				h.launch(t, "net-0")
				time.Sleep(time.Second)
				leave(t, h, dnsmasqID("net-1"))
				before := h.units.Starts(sweepUnit)
				gone.Store(true)
				h.units.Update(dnsmasqID("net-0").Unit(), func(*systemd.Unit) {})
				time.Sleep(10 * events.RetryPause)
				gone.Store(false)
				time.Sleep(2 * events.RetryPause)
				if h.units.Starts(sweepUnit) == before {
					t.Error("no sweep after the bus was away")
				}
			})
		})
	}
}
