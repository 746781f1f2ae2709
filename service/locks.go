package service

import (
	"context"
	"slices"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/quota"
)

// idLocks serialise the launches and stops of each sidecar, in the order in which they ask, so
// of many launches of one instance the last one stays. A stop ends the launches that asked
// before it.
type idLocks struct {
	mu       sync.Mutex
	turns    *quota.Quota[interfaces.ID]
	launches map[interfaces.ID][]*interruption // that hold the lock or wait for it, in their order
}

func newIDLocks() *idLocks {
	return &idLocks{turns: quota.New[interfaces.ID](1, quota.NoLimit), launches: map[interfaces.ID][]*interruption{}}
}

// lockLaunch waits for the turn of a launch, or for ctx. If the error is nil, unlock must
// be called. Until then a lockStop interrupts the launch.
func (l *idLocks) lockLaunch(ctx context.Context, id interfaces.ID, launch *interruption) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	turn := func() quota.Turn {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.launches[id] = append(l.launches[id], launch)
		return l.turns.Enqueue(id)
	}()
	if err := l.turns.Wait(ctx, id, turn); err != nil {
		l.forget(id, launch)
		return nil, err
	}
	return func() {
		l.forget(id, launch)
		l.turns.Release(id, 1)
	}, nil
}

// lockStop interrupts the launches that asked for the lock before it, if mayInterrupt allows
// it, and waits for the turn of a stop, or for ctx. It reports whether it interrupted any, also
// with an error. If the error is nil, unlock must be called.
func (l *idLocks) lockStop(ctx context.Context, id interfaces.ID, killAfter time.Duration, mayInterrupt func(*interruption) bool) (unlock func(), interrupted bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	turn := func() quota.Turn {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, launch := range l.launches[id] {
			if mayInterrupt(launch) {
				launch.interrupt(killAfter)
				interrupted = true
			}
		}
		return l.turns.Enqueue(id)
	}()
	return func() { l.turns.Release(id, 1) }, interrupted, l.turns.Wait(ctx, id, turn)
}

// tryLock takes the lock if nobody holds it, and reports whether it did. If so, unlock
// must be called.
func (l *idLocks) tryLock(id interfaces.ID) (unlock func(), ok bool) {
	return func() { l.turns.Release(id, 1) }, l.turns.Take(id, 1) == quota.Taken
}

// launching returns the first launch that holds the lock or waits for it and was not
// interrupted, or nil.
func (l *idLocks) launching(id interfaces.ID) *interruption {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, launch := range l.launches[id] {
		if !launch.happened() {
			return launch
		}
	}
	return nil
}

func (l *idLocks) forget(id interfaces.ID, launch *interruption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.launches[id] = slices.DeleteFunc(l.launches[id], func(i *interruption) bool { return i == launch })
	if len(l.launches[id]) == 0 {
		delete(l.launches, id)
	}
}

// interruption is how a stop ends a launch that was asked for before it.
type interruption struct {
	netns   *string // the network namespace of the launch, nil for the host's
	stopped context.Context
	stop    context.CancelFunc

	// killAfter is the time that the launch's process gets to exit before it is killed;
	// 0 means the unit's TimeoutStopUSec. Read it only after the interruption.
	killAfter time.Duration
}

func newInterruption(netns *string) *interruption {
	i := &interruption{netns: netns}
	i.stopped, i.stop = context.WithCancel(context.Background())
	return i
}

// interrupt ends the launch. The first call sets killAfter. Only one goroutine at a time may
// call it.
func (i *interruption) interrupt(killAfter time.Duration) {
	if !i.happened() {
		i.killAfter = killAfter
		i.stop()
	}
}

// happened reports whether the launch was interrupted.
func (i *interruption) happened() bool { return i.stopped.Err() != nil }

// bind returns a context that also ends when the launch is interrupted. unbind must
// be called when the context is not needed any more.
func (i *interruption) bind(ctx context.Context) (bound context.Context, unbind func()) {
	bound, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(i.stopped, cancel)
	return bound, func() {
		release()
		cancel()
	}
}
