package service

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/systemd"
)

// TestMonitorStateIsNew shows that the state has everything that was announced
// before the call.
func TestMonitorStateIsNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		time.Sleep(time.Second)
		for n := range 3 {
			h.launch(t, fmt.Sprint("net-", n))
			got := h.watch(t, operator(), interfaces.MonitorParameters{}).said()
			if len(got) != n+2 || got[n+1] != "synchronized" {
				t.Errorf("state after launch %d: %q", n, got)
			}
		}
	})
}

// TestMonitorWithoutSystemd shows that a monitor that cannot be told the state ends
// in time, and that one which has begun hears what happened when systemd is back.
func TestMonitorWithoutSystemd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		h.launch(t, "net-0")
		var gone atomic.Bool
		h.units.Before = func(string, string) error {
			if gone.Load() {
				return systemd.ErrDisconnected
			}
			return nil
		}
		h.observe(t)
		w := h.watch(t, operator(), interfaces.MonitorParameters{})
		w.said()
		gone.Store(true)
		h.units.Exit(dnsmasqID("net-0").Unit(), 7)
		diff(t, "without systemd", []string(nil), w.said())
		late := h.watch(t, operator(), interfaces.MonitorParameters{})
		if err := <-late.done; !errors.Is(err, interfaces.ErrHostFailure) {
			t.Errorf("late: %v", err)
		}
		gone.Store(false)
		time.Sleep(2 * events.RetryPause)
		diff(t, "afterwards", []string{"failed " + dnsmasqID("net-0").String() + " failed"}, w.said())
	})
}
