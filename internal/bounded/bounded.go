// Package bounded stops waiting for calls that somebody else can keep from
// returning: a system call on a directory whose lock an agent holds, or on a file
// system that does not answer (fuse(4)). The kernel cannot be told to give such a
// call up, so it goes on in a goroutine (and thread) of its own; what it returns late
// is thrown away.
//
// Out of scope: calls that take a context or a deadline.
package bounded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"tripleo.io/sidecar/internal/quota"
)

// ErrHangs is the error of a call that does not return.
var ErrHangs = errors.New("the kernel does not answer")

// Calls bounds the calls that are made through it. Use New.
type Calls struct {
	limit          time.Duration
	perKey, atOnce int
	running        *quota.Quota[string] // calls that have not returned
	hung           *quota.Quota[string] // running calls that nobody waits for any more
}

// New returns Calls with these limits. A call may take as long as limit, and before that
// wait as long for its turn. At most perKey calls of one key, and atOnce calls of all
// keys, run at the same time, hanging calls included. When perKey calls of one key hang, or
// atOnce calls of all keys together, another call is refused at once.
func New(limit time.Duration, perKey, atOnce int) *Calls {
	return &Calls{limit, perKey, atOnce, quota.New[string](perKey, atOnce), quota.New[string](perKey, atOnce)}
}

// Do runs call and returns its results. The error is ErrHangs if call takes longer than
// the limit, if its turn does not come in that time, or if too many calls hang already. key
// names who could make it hang. If call returns after Do has, and without an error, discard
// gets its value; discard may be nil.
func Do[T any](c *Calls, key string, call func() (T, error), discard func(T)) (T, error) {
	var none T
	if err := c.enter(key); err != nil {
		return none, err
	}
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	w := &waiting[T]{done: make(chan struct{})}
	go func() {
		defer c.running.Release(key, 1)
		w.run(call)
		if w.end() {
			return
		}
		c.hung.Release(key, 1)
		if discard != nil && w.err == nil {
			discard(w.value)
		}
	}()
	select {
	case <-w.done:
		return w.result()
	case <-timer.C:
	}
	if w.leave(func() { c.hung.Take(key, 1) }) {
		return none, fmt.Errorf("%w within %v", ErrHangs, c.limit)
	}
	return w.result()
}

// Err is Do for a call without a value.
func Err(c *Calls, key string, call func() error) error {
	_, err := Do(c, key, func() (struct{}, error) { return struct{}{}, call() }, nil)
	return err
}

// enter waits for the turn of a call, unless too many calls hang.
func (c *Calls) enter(key string) error {
	if hung := c.hung.InUse(); c.hung.Held(key) >= c.perKey || hung >= c.atOnce {
		return fmt.Errorf("%w: %d calls hang already", ErrHangs, hung)
	}
	if c.running.Take(key, 1) == quota.Taken {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	if c.running.Acquire(ctx, key) != nil {
		return fmt.Errorf("%w: %d calls are under way", ErrHangs, c.running.InUse())
	}
	return nil
}

// waiting is a call and the goroutine that waits for it. Either the call ends first (end),
// or the goroutine gives up first (leave).
type waiting[T any] struct {
	value T
	err   error
	panic string // value and stack; "" if the call did not panic
	done  chan struct{}

	mu    sync.Mutex
	ended bool
	left  bool
}

func (w *waiting[T]) run(call func() (T, error)) {
	defer func() {
		if value := recover(); value != nil {
			w.panic = fmt.Sprintf("%v\n%s", value, debug.Stack())
			w.err = errors.New("panic")
		}
	}()
	w.value, w.err = call()
}

// result is what the call returned. A panic goes on in the goroutine that waited, which
// knows what to do with it.
func (w *waiting[T]) result() (T, error) {
	if w.panic != "" {
		panic(w.panic)
	}
	return w.value, w.err
}

// end says that the call has ended, and reports whether the goroutine still waits.
func (w *waiting[T]) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	close(w.done)
	return !w.left
}

// leave gives up if the call still runs, and reports whether it does. If so it calls first,
// before end can return.
func (w *waiting[T]) leave(first func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.left = true
		first()
	}
	return !w.ended
}
