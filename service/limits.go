package service

import (
	"context"
	"sync"

	"tripleo.io/sidecar/interfaces"
)

// limits hold each agent to the number of sidecars that it may have. They keep
// an upper bound of what an agent has, and count, which costs a question to
// systemd, only when the bound is reached.
type limits struct {
	mu     sync.Mutex
	agents map[string]*agentCount
}

type agentCount struct {
	known    bool // upper has been counted once
	upper    int
	inFlight map[interfaces.ID]bool // its start has not ended; true: reserved, false: held
	counting int                    // recounts that are under way
	recent   map[interfaces.ID]bool // was in flight at some time during them
}

func newLimits() *limits { return &limits{agents: map[string]*agentCount{}} }

// reserve counts one more sidecar of the agent, and reports false if it would
// have more than max. If it reports true, done must follow.
func (l *limits) reserve(ctx context.Context, id interfaces.ID, max int, list func(context.Context) ([]interfaces.ID, error)) (bool, error) {
	if l.take(id, max) {
		return true, nil
	}
	if err := l.recount(ctx, id.Agent, list); err != nil {
		return false, err
	}
	return l.take(id, max), nil
}

// recount sets the agent's bound to what list returns.
func (l *limits) recount(ctx context.Context, agent string, list func(context.Context) ([]interfaces.ID, error)) (err error) {
	var listed []interfaces.ID
	counted := false
	l.beginCount(agent)
	defer func() { l.endCount(agent, listed, counted) }() // after a panic of list, too
	listed, err = list(ctx)
	counted = err == nil
	return err
}

// hold notes that a sidecar which is there already is about to be replaced. It
// has been counted, but goes before the new one comes: a recount in between must
// not make room for another one. Whether it is there must be looked at once more
// afterwards: what went before was perhaps not counted. done must follow.
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

func (l *limits) beginCount(agent string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(agent)
	n.counting++
	for id := range n.inFlight {
		n.recent[id] = true
	}
}

// endCount sets the bound to what was listed and what was under way at any time
// while the list was made: that may be in the list or not. counted says that there is
// a list.
func (l *limits) endCount(agent string, listed []interfaces.ID, counted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.count(agent)
	if counted {
		all := map[interfaces.ID]bool{}
		for _, id := range listed {
			all[id] = true
		}
		for id := range n.recent {
			all[id] = true
		}
		n.known, n.upper = true, len(all)
	}
	if n.counting--; n.counting == 0 {
		clear(n.recent)
	}
}

func (l *limits) count(agent string) *agentCount {
	if l.agents[agent] == nil {
		l.agents[agent] = &agentCount{inFlight: map[interfaces.ID]bool{}, recent: map[interfaces.ID]bool{}}
	}
	return l.agents[agent]
}
