package service

import (
	"context"
	"slices"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// idLocks serialise what is done to one sidecar. Callers get their turns in the
// order of asking, so of many launches of one instance the last accepted one is the
// one that stays. A stop ends the launches that asked before it. The zero value is
// ready.
type idLocks struct {
	mu   sync.Mutex
	rows map[interfaces.ID][]*turn // the first one holds the lock, the others wait
}

// turn is a place in the row of a lock.
type turn struct {
	granted chan struct{} // closed when the lock is held
	launch  *interruption // nil if it is not a launch's
}

// lockLaunch waits for the turn of a launch, or for ctx. If the error is nil, unlock
// must follow. Until then a lockStop interrupts the launch.
func (l *idLocks) lockLaunch(ctx context.Context, id interfaces.ID, launch *interruption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &turn{granted: make(chan struct{}), launch: launch}
	l.enqueue(id, t, nil)
	return l.await(ctx, id, t)
}

// lockStop interrupts the launches in the row that may be interrupted, and waits for
// the turn of a stop, or for ctx. It reports whether there were such launches, with
// an error too. If the error is nil, unlock must follow.
func (l *idLocks) lockStop(ctx context.Context, id interfaces.ID, killAfter time.Duration, may func(*interruption) bool) (interrupted bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	t := &turn{granted: make(chan struct{})}
	l.enqueue(id, t, func(before *turn) {
		if before.launch != nil && may(before.launch) {
			before.launch.interrupt(killAfter)
			interrupted = true
		}
	})
	return interrupted, l.await(ctx, id, t)
}

// tryLock takes the lock if nobody holds it, and reports whether it did.
func (l *idLocks) tryLock(id interfaces.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rows[id]) > 0 {
		return false
	}
	l.append(id, &turn{granted: make(chan struct{})})
	return true
}

// unlock hands the lock to the first who waits.
func (l *idLocks) unlock(id interfaces.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(id, 0)
}

// launching returns the first launch that holds the lock or waits for it and was not
// interrupted, or nil.
func (l *idLocks) launching(id interfaces.ID) *interruption {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.rows[id] {
		if t.launch != nil && !t.launch.happened() {
			return t.launch
		}
	}
	return nil
}

// enqueue takes a place in the row, after it has called see for everybody in it. No
// place is taken in between: what is asked for later is not seen.
func (l *idLocks) enqueue(id interfaces.ID, t *turn, see func(before *turn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if see != nil {
		for _, before := range l.rows[id] {
			see(before)
		}
	}
	l.append(id, t)
}

// await waits until t is first in its row, or gives its place up when ctx ends.
func (l *idLocks) await(ctx context.Context, id interfaces.ID, t *turn) error {
	select {
	case <-t.granted:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(id, slices.Index(l.rows[id], t)) // it may be first by now
	return ctx.Err()
}

// append puts t at the end of the row. l.mu must be held.
func (l *idLocks) append(id interfaces.ID, t *turn) {
	if l.rows == nil {
		l.rows = map[interfaces.ID][]*turn{}
	}
	l.rows[id] = append(l.rows[id], t)
	if len(l.rows[id]) == 1 {
		close(t.granted)
	}
}

// remove takes a turn out of the row. The lock is the next one's if that was the
// first. l.mu must be held.
func (l *idLocks) remove(id interfaces.ID, i int) {
	row := slices.Delete(l.rows[id], i, i+1)
	l.rows[id] = row
	switch {
	case len(row) == 0:
		delete(l.rows, id)
	case i == 0:
		close(row[0].granted)
	}
}
