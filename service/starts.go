package service

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"tripleo.io/sidecar/interfaces"
)

// maxWaiting is how many launches of one agent may wait for their start. Each
// holds a goroutine and a request of at most 256 KiB.
const maxWaiting = 1024

// startQueue bounds how many units are started at once: podman's own locks would
// queue the rest anyway, but not fairly. Agents take turns, so that one that
// asks for hundreds does not keep the others waiting.
type startQueue struct {
	mu      sync.Mutex
	free    int
	waiting map[string][]chan struct{} // by agent, first come first served
	turns   []string                   // agents that wait, the next one first
}

func newStartQueue(slots int) *startQueue {
	return &startQueue{free: slots, waiting: map[string][]chan struct{}{}}
}

// acquire waits for a slot, or for ctx. The caller must release it if the error
// is nil.
func (q *startQueue) acquire(ctx context.Context, agent string) error {
	turn, err := q.enqueue(agent)
	if err != nil || turn == nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !q.forget(agent, turn) {
			q.release() // it was handed over at the same moment
		}
		return ctx.Err()
	}
}

// enqueue takes a free slot (nil) or a place in the row.
func (q *startQueue) enqueue(agent string) (chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		return nil, nil
	}
	if len(q.waiting[agent]) >= maxWaiting {
		return nil, &interfaces.OverloadedError{Reason: fmt.Sprintf("%d launches of this agent wait already", maxWaiting)}
	}
	if len(q.waiting[agent]) == 0 {
		q.turns = append(q.turns, agent)
	}
	turn := make(chan struct{})
	q.waiting[agent] = append(q.waiting[agent], turn)
	return turn, nil
}

// release hands the slot to the first launch of the agent whose turn it is.
func (q *startQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.free++
		return
	}
	agent := q.turns[0]
	q.turns = q.turns[1:]
	row := q.waiting[agent]
	close(row[0])
	q.setRow(agent, row[1:])
	if len(row) > 1 {
		q.turns = append(q.turns, agent)
	}
}

// forget takes a place out of the row, and reports whether it was still there.
func (q *startQueue) forget(agent string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	row := q.waiting[agent]
	i := slices.Index(row, turn)
	if i < 0 {
		return false
	}
	q.setRow(agent, slices.Delete(row, i, i+1))
	if len(row) == 1 {
		q.turns = slices.DeleteFunc(q.turns, func(a string) bool { return a == agent })
	}
	return true
}

func (q *startQueue) setRow(agent string, row []chan struct{}) {
	if len(row) == 0 {
		delete(q.waiting, agent)
		return
	}
	q.waiting[agent] = row
}
