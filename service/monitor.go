package service

import (
	"cmp"
	"context"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// stateTimeout bounds the wait for the state of the units, as when the bus restarts.
	stateTimeout = 15 * time.Second
	// sweepUnit is a unit that repeats the removals that have failed so far, until they work.
	sweepUnit = "sidecar-clean.service"
	// The pause before the daemon tries again to start sweepUnit doubles from sweepPauseMin.
	sweepPauseMin = time.Second
	sweepPauseMax = time.Minute
)

// observedUnits is the core as package events needs it: an events.Units.
type observedUnits struct{ core *Core }

// Changes announces units that may have changed.
func (u observedUnits) Changes() *systemd.Changes { return u.core.Units.Changes() }

// List reads all units whose names match the pattern, and adds sidecars that wait.
func (u observedUnits) List(ctx context.Context, pattern string) ([]systemd.Unit, error) {
	units, err := u.core.listUnits(ctx, "", pattern)
	return u.core.withWaiting(units, pattern), err
}

// Sidecar describes the unit of a sidecar.
func (u observedUnits) Sidecar(unit systemd.Unit) interfaces.Sidecar {
	return u.core.sidecar(unit, u.core.Images())
}

// Observe watches the units, which feeds Watch and Events and starts sweeps, until ctx
// ends. It must run once.
func (c *Core) Observe(ctx context.Context) {
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { c.sweep(ctx) })
	c.events.Run(ctx)
}

// Events subscribes to the events of all sidecars, for a transport that serves many
// callers and decides what each of them may see. Events come only while Observe runs.
func (c *Core) Events() *events.Subscription {
	s, _ := c.events.Subscribe("", func(interfaces.ID) bool { return true }) // "" has no limit
	return s
}

// Watch sends the events of the sidecars that the selectors match and the caller may see:
// the state first, then every change. It returns send's error, or ctx's. While send blocks,
// events wait in a queue, and an overrun replaces them when it is full; nothing else waits.
func (c *Core) Watch(ctx context.Context, caller Caller, p interfaces.MonitorParameters, send func(interfaces.Event) error) error {
	call := newCall(caller, "Monitor", actionInspect, p.Agent, orEmpty(p.Profile), p.AllowInteractiveAuthentication)
	s, err := c.subscribe(ctx, call, p)
	if err == nil {
		defer s.Close()
	}
	c.record(call, err)
	if err != nil {
		return err
	}
	event, err := first(ctx, s)
	for err == nil {
		if err = send(event); err == nil {
			event, err = s.Next(ctx)
		}
	}
	return err
}

// subscribe has the caller authorised, and subscribes to the sidecars that it asks for and may
// see.
func (c *Core) subscribe(ctx context.Context, call *call, p interfaces.MonitorParameters) (*events.Subscription, error) {
	if err := cmp.Or(checkName("agent", p.Agent), checkName("profile", p.Profile)); err != nil {
		return nil, err
	}
	if err := c.authorise(ctx, call); err != nil {
		return nil, err
	}
	agent := orEmpty(p.Agent) // "" for all
	if call.Caller.Agent != "" {
		var err error
		if agent, err = call.Caller.agentFor(p.Agent); err != nil {
			return nil, err
		}
	}
	return c.events.Subscribe(call.Caller.LimitKey(), func(id interfaces.ID) bool {
		return (agent == "" || agent == id.Agent) && (p.Profile == nil || *p.Profile == id.Profile)
	})
}

// first waits for the first event, at most for stateTimeout. Its error is the cause of ctx's end.
func first(ctx context.Context, s *events.Subscription) (interfaces.Event, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, stateTimeout, &interfaces.HostFailureError{
		Reason: "the state of the units is not known: systemd or the bus does not answer",
	})
	defer cancel()
	event, err := s.Next(bounded)
	if err != nil {
		err = context.Cause(bounded)
	}
	return event, err
}

// Restarted passes on that systemd has restarted a sidecar.
func (u observedUnits) Restarted(id interfaces.ID, times int64) {
	if u.core.Restarted != nil {
		u.core.Restarted(id, times)
	}
}

// Looked asks for a sweep if the removal of a sidecar that has ended has failed, or may have
// failed. sidecar-launch asks for one when a removal fails, but not if it is killed.
func (u observedUnits) Looked(ended []interfaces.ID, all bool) {
	var names []string
	for _, id := range ended {
		names = append(names, id.String())
	}
	u.core.Forget(names)
	u.core.forgetEnded(ended)
	if all {
		go u.core.forgetMissing()
	}
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
			c.Logger.Warn("cannot start sidecar-clean.service, which removes remaining containers", "error", err, "again_in", wait)
			_ = retry.Pause(ctx, wait)
		}
	}
}
