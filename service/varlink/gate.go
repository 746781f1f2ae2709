package varlink

import (
	"fmt"
	"sync"
)

// gate counts connections.
type gate struct {
	limits Limits

	mu        sync.Mutex
	left      chan struct{} // closed when somebody leaves, then made anew
	agents    int           // all connections of agents
	strangers int           // all on the host's socket but root's
	agent     map[string]int
	uid       map[uint32]int // on the host's socket
}

func newGate(limits Limits) *gate {
	return &gate{limits: limits, left: make(chan struct{}), agent: map[string]int{}, uid: map[uint32]int{}}
}

// enter counts one more connection of the peer. Its error says which limit does
// not let it in. Agents, root and the other users of the host's socket are
// counted apart: none of them can take the places of another.
func (g *gate) enter(p Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case p.Agent != "" && g.agent[p.Agent] >= g.limits.ConnectionsPerListener:
		return fmt.Errorf("the agent has %d connections", g.agent[p.Agent])
	case p.Agent == "" && g.uid[p.UID] >= g.limits.ConnectionsPerUID:
		return fmt.Errorf("user %d has %d connections", p.UID, g.uid[p.UID])
	case p.Agent != "" && g.agents >= g.limits.ConnectionsTotal:
		return fmt.Errorf("the agents have %d connections in all", g.agents)
	case p.stranger() && g.strangers >= g.limits.ConnectionsStrangers:
		return fmt.Errorf("users other than root have %d connections in all", g.strangers)
	}
	g.count(p, 1)
	return nil
}

// full reports whether the agent may not have one more connection. left is closed
// when that may have changed. The host's socket is not the place of one peer only,
// so it is never full.
func (g *gate) full(agent string) (full bool, left <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return agent != "" && g.agent[agent] >= g.limits.ConnectionsPerListener, g.left
}

// leave takes back what enter counted.
func (g *gate) leave(p Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(p, -1)
	close(g.left)
	g.left = make(chan struct{})
}

func (g *gate) count(p Peer, by int) {
	if p.Agent != "" {
		g.agents += by
		add(g.agent, p.Agent, by)
		return
	}
	if p.stranger() {
		g.strangers += by
	}
	add(g.uid, p.UID, by)
}

// add keeps no zeros, so that the map does not grow with every user ever seen.
func add[K comparable](counts map[K]int, key K, by int) {
	if counts[key] += by; counts[key] == 0 {
		delete(counts, key)
	}
}
