package service

import (
	"context"
	"sync"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// limits holds each agent to the number of sidecars that it may have. It keeps
// an upper bound of what an agent has and counts, which costs a question to
// systemd, only when the bound is reached.
type limits struct {
	mu     sync.Mutex
	agents map[string]*agentCount
}

type agentCount struct {
	known    bool
	upper    int
	inFlight map[interfaces.ID]bool // reserved, not seen in a list for certain yet
}

func newLimits() *limits { return &limits{agents: map[string]*agentCount{}} }

// reserve counts one more sidecar of the agent. The caller must call done when
// the start has ended. It reports false if the agent would have more than max.
func (l *limits) reserve(ctx context.Context, id interfaces.ID, max int, list func(context.Context) ([]interfaces.ID, error)) (bool, error) {
	if l.take(id, max) {
		return true, nil
	}
	before := l.snapshot(id.Agent)
	listed, err := list(ctx)
	if err != nil {
		return false, err
	}
	l.recount(id.Agent, append(before, listed...))
	return l.take(id, max), nil
}

func (l *limits) done(id interfaces.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.count(id.Agent).inFlight, id)
}

func (l *limits) take(id interfaces.ID, max int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(id.Agent)
	if !n.known || n.upper >= max {
		return false
	}
	n.upper++
	n.inFlight[id] = true
	return true
}

// recount sets the bound to what was listed and what is under way. Starts that
// ended while the list was made were under way before it and are in seen.
func (l *limits) recount(agent string, seen []interfaces.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(agent)
	all := map[interfaces.ID]bool{}
	for _, id := range seen {
		all[id] = true
	}
	for id := range n.inFlight {
		all[id] = true
	}
	n.known, n.upper = true, len(all)
}

func (l *limits) snapshot(agent string) []interfaces.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []interfaces.ID
	for id := range l.count(agent).inFlight {
		ids = append(ids, id)
	}
	return ids
}

func (l *limits) count(agent string) *agentCount {
	if l.agents[agent] == nil {
		l.agents[agent] = &agentCount{inFlight: map[interfaces.ID]bool{}}
	}
	return l.agents[agent]
}

// admit makes room for one more sidecar of the agent or refuses it. The records
// of failed sidecars give way, the oldest first: they must not lock an agent out.
func (c *Core) admit(ctx context.Context, j *job) error {
	limit := j.decision.Agent.MaxSidecars
	list := func(ctx context.Context) ([]interfaces.ID, error) { return c.idsOf(ctx, j.id.Agent) }
	ok, err := c.limits.reserve(ctx, j.id, limit, list)
	if ok || err != nil {
		return err
	}
	if !c.forgetFailed(ctx, j.id.Agent) {
		return &interfaces.TooManySidecarsError{Limit: int64(limit)}
	}
	ok, err = c.limits.reserve(ctx, j.id, limit, list)
	if !ok && err == nil {
		err = &interfaces.TooManySidecarsError{Limit: int64(limit)}
	}
	return err
}

func (c *Core) idsOf(ctx context.Context, agent string) ([]interfaces.ID, error) {
	units, err := c.Units.List(ctx, unitsOf(agent))
	if err != nil {
		return nil, hostFailure("list units", err)
	}
	var ids []interfaces.ID
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// forgetFailed removes the record of the agent's oldest failed sidecar, and
// reports whether there was one.
func (c *Core) forgetFailed(ctx context.Context, agent string) bool {
	units, err := c.Units.List(ctx, unitsOf(agent))
	if err != nil {
		return false
	}
	var oldest *systemd.Unit
	for i, u := range units {
		if u.ActiveState == "failed" && (oldest == nil || u.ExitedUSec < oldest.ExitedUSec) {
			oldest = &units[i]
		}
	}
	if oldest == nil {
		return false
	}
	_, err = c.Units.Stop(ctx, oldest.Name, 0)
	return err == nil
}
