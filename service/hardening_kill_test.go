package service

import (
	"context"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// TestHardeningStopDoesNotKillAStart shows that a unit that is starting gets its own time
// to end, whatever the stop says: a start that is cut off could leave a container.
func TestHardeningStopDoesNotKillAStart(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]time.Duration{"activating": 0, "active": time.Microsecond} {
		h := newFakeHost(t)
		id := h.launched(t)
		h.units.Update(dnsmasqID("net-1").Unit(), func(u *systemd.Unit) { u.ActiveState = state })
		spy := &stopSpy{Fake: h.units}
		h.core.Units = spy
		if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: id, TimeoutUSec: new(int64(1))}); err != nil {
			t.Error(err)
		}
		diff(t, state+": killed after", want, spy.killAfter)
	}
}

// stopSpy keeps what the last stop was told.
type stopSpy struct {
	*systemd.Fake
	killAfter time.Duration
}

func (s *stopSpy) Stop(ctx context.Context, name string, killAfter time.Duration) (systemd.Unit, error) {
	s.killAfter = killAfter
	return s.Fake.Stop(ctx, name, 0)
}
