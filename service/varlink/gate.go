package varlink

import (
	"context"
	"fmt"
	"sync"
)

// gate counts connections.
type gate struct {
	limits Limits

	mu    sync.Mutex
	left  chan struct{} // closed when somebody leaves, then made anew
	total int
	agent map[string]int
	uid   map[uint32]int // on the host's socket
}

func newGate(limits Limits) *gate {
	return &gate{limits: limits, left: make(chan struct{}), agent: map[string]int{}, uid: map[uint32]int{}}
}

// enter counts one more connection of the peer. Its error says which limit does
// not let it in.
func (g *gate) enter(p Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case p.Agent != "" && g.agent[p.Agent] >= g.limits.ConnectionsPerListener:
		return fmt.Errorf("the agent has %d connections", g.agent[p.Agent])
	case p.Agent == "" && g.uid[p.UID] >= g.limits.ConnectionsPerUID:
		return fmt.Errorf("user %d has %d connections", p.UID, g.uid[p.UID])
	case g.total >= g.limits.ConnectionsTotal && !p.operator():
		return fmt.Errorf("there are %d connections in all", g.total)
	}
	g.count(p, 1)
	return nil
}

// room waits until the agent may have one more connection, or for ctx. The host's
// socket is not the place of one peer only, so it never waits.
//
// An agent's callers over the limit wait in the kernel's queue of the listener
// (listen(2)) instead of being hung up on: a burst of hundreds of short calls
// must lose none, and nobody but this agent is in that queue.
func (g *gate) room(ctx context.Context, agent string) {
	for ctx.Err() == nil {
		g.mu.Lock()
		full, left := agent != "" && g.agent[agent] >= g.limits.ConnectionsPerListener, g.left
		g.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-left:
		case <-ctx.Done():
		}
	}
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
	g.total += by
	if p.Agent != "" {
		add(g.agent, p.Agent, by)
		return
	}
	add(g.uid, p.UID, by)
}

// add keeps no zeros, so that the map does not grow with every user ever seen.
func add[K comparable](counts map[K]int, key K, by int) {
	if counts[key] += by; counts[key] == 0 {
		delete(counts, key)
	}
}
