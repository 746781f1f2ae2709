package service

import (
	"context"
	"slices"
	"sync"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// limits hold each agent to the number of sidecars that it may have. They keep an upper
// bound of the agent's sidecars, and ask systemd for its units only when the bound reaches the
// limit.
type limits struct {
	mu     sync.Mutex
	agents map[string]*agentCount
}

type agentCount struct {
	counted  bool // upper has been counted once
	upper    int
	inFlight map[interfaces.ID]bool // launches under way; true: reserved, false: held
	counting int                    // recounts under way
	recent   map[interfaces.ID]bool // was in flight at some time during the recounts
}

// lister lists the sidecars of an agent.
type lister func(context.Context) ([]interfaces.ID, error)

func newLimits() *limits { return &limits{agents: map[string]*agentCount{}} }

// reserve counts one more sidecar of the agent, and reports false if the agent would have
// more than max. After true, done must follow.
func (l *limits) reserve(ctx context.Context, id interfaces.ID, max int, list lister) (bool, error) {
	if l.take(id, max) {
		return true, nil
	}
	if err := l.recount(ctx, id.Agent, list); err != nil {
		return false, err
	}
	return l.take(id, max), nil
}

// hold notes that an existing unit is about to be replaced: a recount between its stop and the
// new start must not give its place to another sidecar. The caller must read the unit again
// afterwards, because a unit that ended before may not be counted. done must follow.
func (l *limits) hold(id interfaces.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(id.Agent).begin(id, false)
}

// done ends a reservation or a hold. A sidecar that was reserved and not started
// does not count.
func (l *limits) done(id interfaces.ID, started bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(id.Agent)
	if n.inFlight[id] && !started {
		n.upper--
	}
	delete(n.inFlight, id)
}

func (l *limits) take(id interfaces.ID, max int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(id.Agent)
	if !n.counted || n.upper >= max {
		return false
	}
	n.upper++
	n.begin(id, true)
	return true
}

func (n *agentCount) begin(id interfaces.ID, reserved bool) {
	n.inFlight[id] = reserved
	if n.counting > 0 {
		n.recent[id] = true
	}
}

// recount sets the agent's bound to the sidecars that list returns, and all that were in
// flight at any time meanwhile: the list may lack them.
func (l *limits) recount(ctx context.Context, agent string, list lister) error {
	l.mu.Lock()
	n := l.count(agent)
	n.counting++
	for id := range n.inFlight {
		n.recent[id] = true
	}
	l.mu.Unlock()
	defer func() { // after a panic of list, too
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.counting--; n.counting == 0 {
			clear(n.recent)
		}
	}()
	listed, err := list(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n.counted, n.upper = true, len(n.recent)
	for _, id := range listed {
		if !n.recent[id] {
			n.upper++
		}
	}
	return nil
}

func (l *limits) count(agent string) *agentCount {
	if l.agents[agent] == nil {
		l.agents[agent] = &agentCount{inFlight: map[interfaces.ID]bool{}, recent: map[interfaces.ID]bool{}}
	}
	return l.agents[agent]
}

// admit takes a place for one more sidecar of the agent or refuses the launch. Failed sidecars
// must not lock an agent out: the oldest one is removed if all places are taken.
func (c *Core) admit(ctx context.Context, a *attempt) error {
	limit := a.decision.Agent.MaxSidecars
	list := func(ctx context.Context) ([]interfaces.ID, error) { return c.idsOf(ctx, a.id.Agent) }
	for removed := false; ; removed = true {
		ok, err := c.limits.reserve(ctx, a.id, limit, list)
		if ok || err != nil {
			return err
		}
		if removed || !c.removeFailed(ctx, a.id.Agent) {
			return &interfaces.TooManySidecarsError{Limit: int64(limit)}
		}
	}
}

func (c *Core) idsOf(ctx context.Context, agent string) ([]interfaces.ID, error) {
	units, err := c.listUnitsOf(ctx, agent)
	var ids []interfaces.ID
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// removeFailed removes the agent's oldest failed unit, and reports whether it did.
func (c *Core) removeFailed(ctx context.Context, agent string) bool {
	units, err := c.listUnitsOf(ctx, agent)
	if err != nil {
		return false
	}
	slices.SortFunc(units, func(a, b systemd.Unit) int { return int(a.ExitedUSec) - int(b.ExitedUSec) })
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok && u.ActiveState == stateFailed && c.removeIfFailed(ctx, id) {
			return true
		}
	}
	return false
}

// removeIfFailed reads the unit again under the sidecar's lock: since it was listed, the
// sidecar may have been launched again, or be about to.
func (c *Core) removeIfFailed(ctx context.Context, id interfaces.ID) bool {
	unlock, ok := c.locks.tryLock(id)
	if !ok {
		return false
	}
	defer unlock()
	unit, err := c.Units.Get(ctx, id.Unit())
	if err != nil || unit.ActiveState != stateFailed {
		return false
	}
	_, err = c.Units.Stop(ctx, unit.Name, 0)
	return err == nil
}
