package service

import (
	"context"
	"slices"
	"sync"
)

// slots bound how much is done at once: podman's own locks would queue the rest
// anyway, but not fairly. Agents take turns, so that one that asks for hundreds
// does not keep the others waiting, and the last slot is never the same agent's
// as all others, so that one whose starts hang does not either.
type slots struct {
	mu      sync.Mutex
	free    int
	each    int                        // how many one agent may hold
	held    map[string]int             // by agent
	waiting map[string][]chan struct{} // by agent, first come first served
	turns   []string                   // agents that wait, the next one first
}

func newSlots(n int) *slots {
	return &slots{free: n, each: max(1, n-1), held: map[string]int{}, waiting: map[string][]chan struct{}{}}
}

// acquire waits for a slot, or for ctx. If the error is nil, release must follow.
func (s *slots) acquire(ctx context.Context, agent string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	turn := s.enqueue(agent)
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !s.forget(agent, turn) {
			s.release(agent) // it was handed over at the same moment
		}
		return ctx.Err()
	}
}

// release gives a slot of the agent to whoever has waited longest for a turn.
func (s *slots) release(agent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[agent]--; s.held[agent] == 0 {
		delete(s.held, agent)
	}
	s.handOut()
}

func (s *slots) enqueue(agent string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting[agent]) == 0 {
		s.turns = append(s.turns, agent)
	}
	turn := make(chan struct{})
	s.waiting[agent] = append(s.waiting[agent], turn)
	s.handOut()
	return turn
}

// handOut gives the free slots to the agents in turn, as far as they may have
// them.
func (s *slots) handOut() {
	for s.free > 0 {
		i := slices.IndexFunc(s.turns, func(agent string) bool { return s.held[agent] < s.each })
		if i < 0 {
			return
		}
		agent := s.turns[i]
		row := s.waiting[agent]
		close(row[0])
		s.free--
		s.held[agent]++
		s.turns = slices.Delete(s.turns, i, i+1)
		s.setRow(agent, row[1:])
		if len(row) > 1 {
			s.turns = append(s.turns, agent)
		}
	}
}

// forget gives up a place in the row, and reports whether it was still there.
func (s *slots) forget(agent string, turn chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.waiting[agent]
	i := slices.Index(row, turn)
	if i < 0 {
		return false
	}
	s.setRow(agent, slices.Delete(row, i, i+1))
	if len(row) == 1 {
		s.turns = slices.DeleteFunc(s.turns, func(a string) bool { return a == agent })
	}
	return true
}

func (s *slots) setRow(agent string, row []chan struct{}) {
	if len(row) == 0 {
		delete(s.waiting, agent)
		return
	}
	s.waiting[agent] = row
}
