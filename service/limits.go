package service

import (
	"context"
	"slices"
	"sync"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// limits hold each agent to the number of sidecars that it may have. They keep an upper
// bound of what an agent has, and list its units, which is a question to systemd, only
// when the bound is reached.
type limits struct {
	mu     sync.Mutex
	agents map[string]*agentCount
}

type agentCount struct {
	known    bool // upper has been counted once
	upper    int
	inFlight map[interfaces.ID]bool // launches under way; true: reserved, false: held
	counting int                    // recounts under way
	recent   map[interfaces.ID]bool // was in flight at some time during the recounts
}

// lister lists the sidecars of an agent.
type lister func(context.Context) ([]interfaces.ID, error)

func newLimits() *limits { return &limits{agents: map[string]*agentCount{}} }

// reserve counts one more sidecar of the agent, and reports false if the agent would have
// more than max. If it reports true, done must follow.
func (l *limits) reserve(ctx context.Context, id interfaces.ID, max int, list lister) (bool, error) {
	if l.take(id, max) {
		return true, nil
	}
	if err := l.recount(ctx, id.Agent, list); err != nil {
		return false, err
	}
	return l.take(id, max), nil
}

// hold notes that a unit which exists is about to be replaced: while it is stopped and the
// new one is not started yet, a recount must not give its place to another sidecar. The
// caller must read the unit again afterwards: a unit that ended before was perhaps not
// counted. done must follow.
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
	if !n.known || n.upper >= max {
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

// recount sets the agent's bound to the sidecars that list returns and those that were in
// flight at any time meanwhile, which may be in the list or not.
func (l *limits) recount(ctx context.Context, agent string, list lister) error {
	l.mu.Lock()
	n := l.count(agent)
	n.counting++
	for id := range n.inFlight {
		n.recent[id] = true
	}
	l.mu.Unlock()
	var listed []interfaces.ID
	counted := false
	defer func() { // after a panic of list, too
		l.mu.Lock()
		defer l.mu.Unlock()
		if counted {
			n.set(listed)
		}
		if n.counting--; n.counting == 0 {
			clear(n.recent)
		}
	}()
	listed, err := list(ctx)
	counted = err == nil
	return err
}

func (n *agentCount) set(listed []interfaces.ID) {
	n.known, n.upper = true, len(n.recent)
	for _, id := range listed {
		if !n.recent[id] {
			n.upper++
		}
	}
}

func (l *limits) count(agent string) *agentCount {
	if l.agents[agent] == nil {
		l.agents[agent] = &agentCount{inFlight: map[interfaces.ID]bool{}, recent: map[interfaces.ID]bool{}}
	}
	return l.agents[agent]
}

// admit makes room for one more sidecar of the agent or refuses it. The units of failed
// sidecars give way, the oldest first: they must not lock an agent out.
func (c *Core) admit(ctx context.Context, j *job) error {
	limit := j.decision.Agent.MaxSidecars
	list := func(ctx context.Context) ([]interfaces.ID, error) { return c.idsOf(ctx, j.id.Agent) }
	ok, err := c.limits.reserve(ctx, j.id, limit, list)
	if ok || err != nil {
		return err
	}
	if c.forgetFailed(ctx, j.id.Agent) {
		ok, err = c.limits.reserve(ctx, j.id, limit, list)
	}
	if !ok && err == nil {
		err = &interfaces.TooManySidecarsError{Limit: int64(limit)}
	}
	return err
}

func (c *Core) idsOf(ctx context.Context, agent string) ([]interfaces.ID, error) {
	units, err := c.listUnits(ctx, agent, unitsOf(agent))
	if err != nil {
		return nil, hostFailure(ctx, "list units", err)
	}
	var ids []interfaces.ID
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// forgetFailed removes the agent's oldest failed unit, and reports whether there was one.
func (c *Core) forgetFailed(ctx context.Context, agent string) bool {
	units, err := c.listUnits(ctx, agent, unitsOf(agent))
	if err != nil {
		return false
	}
	slices.SortFunc(units, func(a, b systemd.Unit) int { return int(a.ExitedUSec) - int(b.ExitedUSec) })
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok && u.ActiveState == stateFailed && c.forgetIfFailed(ctx, id) {
			return true
		}
	}
	return false
}

// forgetIfFailed looks again under the sidecar's lock: it may have been launched
// again since it was listed, or be about to.
func (c *Core) forgetIfFailed(ctx context.Context, id interfaces.ID) bool {
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
