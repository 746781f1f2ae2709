package service

import (
	"context"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/systemd"
)

// stateTimeout bounds the wait for the state of the units, as when the bus restarts.
const stateTimeout = 15 * time.Second

// observedUnits is the core as package events needs it: an events.Units.
type observedUnits struct{ core *Core }

// Changes announces units that may have changed.
func (u observedUnits) Changes() *systemd.Changes { return u.core.Units.Changes() }

// List reads all units whose names match the pattern.
func (u observedUnits) List(ctx context.Context, pattern string) ([]systemd.Unit, error) {
	return u.core.listUnits(ctx, "", pattern)
}

// Sidecar describes the unit of a sidecar.
func (u observedUnits) Sidecar(unit systemd.Unit) interfaces.Sidecar { return u.core.sidecar(unit) }

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
// the state first, then every change. It returns send's error, or ctx's. While send takes
// its time, events wait and then give way to an overrun; nothing else waits.
func (c *Core) Watch(ctx context.Context, caller Caller, p interfaces.MonitorParameters, send func(interfaces.Event) error) error {
	agent, about, err := c.watched(ctx, caller, p)
	var s *events.Subscription
	if err == nil {
		s, err = c.events.Subscribe(caller.LimitKey(), func(id interfaces.ID) bool {
			return (agent == nil || *agent == id.Agent) && (p.Profile == nil || *p.Profile == id.Profile)
		})
	}
	if err == nil {
		defer s.Close()
	}
	c.note(caller, "Monitor", about, err)
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

// watched returns the agent whose sidecars the caller asks for and may see, nil for all,
// and the call's subject for the journal.
func (c *Core) watched(ctx context.Context, caller Caller, p interfaces.MonitorParameters) (*string, subject, error) {
	about := claimed(caller, p.Agent, text(p.Profile))
	if err := checkSelectors(interfaces.ListParameters{Agent: p.Agent, Profile: p.Profile}); err != nil {
		return nil, about, err
	}
	var err error
	about.by, err = c.authorise(ctx, caller, &question{
		action: actionInspect, about: about, interactive: p.AllowInteractiveAuthentication,
	})
	if err != nil || caller.Agent == "" {
		return p.Agent, about, err
	}
	agent, err := caller.agentFor(p.Agent)
	return &agent, about, err
}

// first waits for the first event, at most for stateTimeout.
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

// text returns what s points to, or nothing.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
