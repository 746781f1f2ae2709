package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
)

const (
	// maxWatches is how many streams of events one agent, or one user of the host's
	// socket, may have at once: fewer than its connections, so that it can still
	// call.
	maxWatches = 16
	// stateTimeout is how long the state of the units may take to be known, as when
	// the bus restarts.
	stateTimeout = 15 * time.Second
)

// Watch sends the events of the sidecars that the selectors leave and the caller
// may see: the state first, then every change. It returns send's error, or ctx's.
// While send takes its time, events wait and then give way to an overrun; nothing
// else waits.
func (c *Core) Watch(ctx context.Context, caller Caller, p interfaces.MonitorParameters, send func(interfaces.Event) error) error {
	agent, about, err := c.watched(ctx, caller, p)
	if err == nil {
		if err = c.watchers.enter(caller); err == nil {
			defer c.watchers.leave(caller)
		}
	}
	c.note(caller, "Monitor", about, err)
	if err != nil {
		return err
	}
	s := c.events.subscribe(func(id interfaces.ID) bool {
		return (agent == nil || *agent == id.Agent) && (p.Profile == nil || *p.Profile == id.Profile)
	})
	defer s.Close()
	event, err := first(ctx, s)
	for err == nil {
		if err = send(event); err == nil {
			event, err = s.Next(ctx)
		}
	}
	return err
}

// watched returns the agent whose sidecars the caller asks for and may see, nil for
// all, and what the call is about.
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

// first waits for the first event, but not for ever.
func first(ctx context.Context, s *Subscription) (interfaces.Event, error) {
	bounded, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	event, err := s.Next(bounded)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = &interfaces.HostFailureError{Reason: "the state of the units is not known: systemd or the bus does not answer"}
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

// watchers count the streams of each caller. The zero value is ready.
type watchers struct {
	mu     sync.Mutex
	counts map[string]int
}

// enter counts one more. If it returns no error, leave must follow.
func (w *watchers) enter(caller Caller) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := caller.LimitKey()
	if w.counts[who] >= maxWatches {
		return &interfaces.OverloadedError{Reason: fmt.Sprintf("%s has %d monitors already", who, maxWatches)}
	}
	if w.counts == nil {
		w.counts = map[string]int{}
	}
	w.counts[who]++
	return nil
}

func (w *watchers) leave(caller Caller) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := caller.LimitKey()
	if w.counts[who]--; w.counts[who] == 0 {
		delete(w.counts, who)
	}
}
