package service

import (
	"context"
	"slices"
	"sync"

	"tripleo.io/sidecar/interfaces"
)

// idLocks serialise what is done to one sidecar. Whoever waits gets its turn in
// the order of asking, so of many launches of one instance the last accepted one
// is the one that stays. The zero value is ready.
type idLocks struct {
	mu   sync.Mutex
	rows map[interfaces.ID][]chan struct{} // who waits; a held lock has a row, maybe an empty one
}

// lock waits for the turn, or for ctx. If the error is nil, unlock must follow.
func (l *idLocks) lock(ctx context.Context, id interfaces.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.tryLock(id) {
		return nil
	}
	turn := l.enqueue(id)
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !l.forget(id, turn) {
			l.unlock(id) // it was handed over at the same moment
		}
		return ctx.Err()
	}
}

// tryLock takes the lock if nobody holds it, and reports whether it did.
func (l *idLocks) tryLock(id interfaces.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.rows[id]; held {
		return false
	}
	l.hold(id)
	return true
}

// unlock hands the lock to the first who waits.
func (l *idLocks) unlock(id interfaces.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	row := l.rows[id]
	if len(row) == 0 {
		delete(l.rows, id)
		return
	}
	close(row[0])
	l.rows[id] = row[1:]
}

// enqueue takes a place in the row, or the lock (nil) if it is free by now.
func (l *idLocks) enqueue(id interfaces.ID) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	row, held := l.rows[id]
	if !held {
		l.hold(id)
		return nil
	}
	turn := make(chan struct{})
	l.rows[id] = append(row, turn)
	return turn
}

// forget gives up a place in the row, and reports whether it was still there.
func (l *idLocks) forget(id interfaces.ID, turn chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	row := l.rows[id]
	i := slices.Index(row, turn)
	if i >= 0 {
		l.rows[id] = slices.Delete(row, i, i+1)
	}
	return i >= 0
}

func (l *idLocks) hold(id interfaces.ID) {
	if l.rows == nil {
		l.rows = map[interfaces.ID][]chan struct{}{}
	}
	l.rows[id] = nil
}
