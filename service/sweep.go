package service

import (
	"context"
	"time"

	"tripleo.io/sidecar/interfaces"
)

const (
	// sweepUnit runs the removals that have failed so far, until they work.
	sweepUnit = "sidecar-clean.service"
	// The pause before systemd is asked again to start it doubles from sweepPauseMin.
	sweepPauseMin = time.Second
	sweepPauseMax = time.Minute
)

// Looked asks for a sweep if the removal of a sidecar that has ended has not worked, or may
// not have. sidecar-launch asks for it when a removal fails, but not if it is killed.
func (u observedUnits) Looked(ended []interfaces.ID, all bool) {
	for _, id := range ended {
		if u.core.Leftovers.HasLeftover(id.String()) {
			u.core.Logger.Warn("a container could not be removed yet; sidecar-clean.service tries again until it can", "sidecar", id.String())
			u.core.askForSweep()
		}
	}
	if all && u.core.Leftovers.HasLeftovers() {
		u.core.askForSweep()
	}
}

// askForSweep asks once, however often it is called before the sweep is started.
func (c *Core) askForSweep() {
	select {
	case c.sweepDue <- struct{}{}:
	default:
	}
}

// sweep starts sidecar-clean.service when it is asked for, and tries until it can.
func (c *Core) sweep(ctx context.Context) {
	for {
		select {
		case <-c.sweepDue:
		case <-ctx.Done():
			return
		}
		for wait := sweepPauseMin; ; wait = min(2*wait, sweepPauseMax) {
			err := c.Units.Trigger(ctx, sweepUnit)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.Logger.Warn("cannot start sidecar-clean.service, which removes containers that are left", "error", err, "again_in", wait)
			_ = pause(ctx, wait)
		}
	}
}
