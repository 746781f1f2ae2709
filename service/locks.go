package service

import (
	"context"
	"sync"

	"tripleo.io/sidecar/interfaces"
)

// idLocks serialise what is done to one sidecar. Whoever waits gets its turn in
// the order of asking, so of many launches of one instance the last accepted one
// is the one that stays. The zero value is ready.
type idLocks struct {
	mu    sync.Mutex
	tails map[interfaces.ID]chan struct{} // closed when the last in the row is done
}

// lock waits for the turn, or for ctx. The caller must call unlock exactly once
// if the error is nil.
func (l *idLocks) lock(ctx context.Context, id interfaces.ID) (unlock func(), err error) {
	done := make(chan struct{})
	l.mu.Lock()
	if l.tails == nil {
		l.tails = map[interfaces.ID]chan struct{}{}
	}
	before := l.tails[id]
	l.tails[id] = done
	l.mu.Unlock()

	leave := func() { l.leave(id, done) }
	if before == nil {
		return leave, nil
	}
	select {
	case <-before:
		return leave, nil
	case <-ctx.Done():
		// Those behind wait for done, which must not come before the turn of
		// those in front is over.
		go func() { <-before; leave() }()
		return nil, ctx.Err()
	}
}

func (l *idLocks) leave(id interfaces.ID, done chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tails[id] == done {
		delete(l.tails, id)
	}
	close(done)
}
