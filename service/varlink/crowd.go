package varlink

import (
	"context"
	"time"
)

// room waits until the agent may have one more connection, or for ctx.
//
// An agent's callers over the limit wait in the kernel's queue of the listener
// (listen(2)) instead of being hung up on: a burst of hundreds of short calls
// must lose none, and nobody but this agent is in that queue. While somebody
// waits there, the agent's idle connections have to go.
func (s *Server) room(ctx context.Context, l acceptor, agent string) {
	for ctx.Err() == nil {
		full, left := s.gate.full(agent)
		if !full {
			return
		}
		if l.waiting() {
			s.evict(agent, time.Now().Add(-s.limits.CrowdedTimeout))
		}
		look := time.NewTimer(s.limits.CrowdedTimeout / 5)
		select {
		case <-left:
		case <-look.C:
		case <-ctx.Done():
		}
		look.Stop()
	}
}

// evict hangs up on the agent's connection that has been idle longest, if it has
// been since before.
func (s *Server) evict(agent string, before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest *conn
	for c := range s.conns {
		if c.peer.Agent != agent {
			continue
		}
		if since := c.idleSince(); !since.IsZero() && since.Before(before) {
			longest, before = c, since
		}
	}
	if longest != nil {
		longest.hangUpIdle()
	}
}
