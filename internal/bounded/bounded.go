// Package bounded stops waiting for calls that somebody else can keep from
// returning: a system call on a directory whose lock an agent holds, or on a file
// system that does not answer (fuse(4)). The kernel cannot be told to give such a
// call up, so it goes on in a goroutine (and thread) of its own; what it returns late
// is thrown away.
//
// Out of scope: calls that take a context or a deadline.
package bounded

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// ErrHangs is the error of a call that does not return.
var ErrHangs = errors.New("the kernel does not answer")

// Calls bounds the calls that are made through it. Use New.
type Calls struct {
	limit  time.Duration
	perKey int           // how many calls of one key may hang
	slots  chan struct{} // one for each call that runs

	mu    sync.Mutex
	hung  map[string]int // by key: calls that nobody waits for any more
	total int
}

// New returns Calls with these limits. A caller of Do waits no longer than limit. At most
// atOnce calls run at the same time, hanging calls included; another call waits for its
// turn, within limit. When perKey calls of one key hang, or atOnce calls of all keys
// together, another call is refused at once.
func New(limit time.Duration, perKey, atOnce int) *Calls {
	return &Calls{limit: limit, perKey: perKey, slots: make(chan struct{}, atOnce), hung: map[string]int{}}
}

// Do runs call and returns its results. The error is ErrHangs if call takes longer than
// the limit, or if too many calls hang already. key names who could make it hang. If call
// returns after Do has, and without an error, discard gets its value; discard may be nil.
func Do[T any](c *Calls, key string, call func() (T, error), discard func(T)) (T, error) {
	var none T
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	if err := c.enter(key, timer.C); err != nil {
		return none, err
	}
	w := &waiting[T]{done: make(chan struct{})}
	go func() {
		defer func() { <-c.slots }()
		w.run(call)
		if w.end() {
			return
		}
		c.count(key, -1)
		if discard != nil && w.err == nil {
			discard(w.value)
		}
	}()
	select {
	case <-w.done:
		return w.result()
	case <-timer.C:
	}
	if w.leave(func() { c.count(key, 1) }) {
		return none, fmt.Errorf("%w within %v", ErrHangs, c.limit)
	}
	return w.result()
}

// Err is Do for a call without a value.
func Err(c *Calls, key string, call func() error) error {
	_, err := Do(c, key, func() (struct{}, error) { return struct{}{}, call() }, nil)
	return err
}

// enter takes a slot.
func (c *Calls) enter(key string, timeout <-chan time.Time) error {
	c.mu.Lock()
	hung, total := c.hung[key], c.total
	c.mu.Unlock()
	if hung >= c.perKey || total >= cap(c.slots) {
		return fmt.Errorf("%w: %d calls hang already", ErrHangs, total)
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-timeout:
		return fmt.Errorf("%w: %d calls are under way", ErrHangs, cap(c.slots))
	}
}

func (c *Calls) count(key string, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += by
	if c.hung[key] += by; c.hung[key] == 0 {
		delete(c.hung, key)
	}
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
