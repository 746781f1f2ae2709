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
	perKey int           // how many calls of one key run at once
	slots  chan struct{} // one for each call that runs

	mu     sync.Mutex
	shares map[string]*share // of the keys whose calls run or wait
	hung   int               // calls that nobody waits for any more
}

// share counts the calls of one key.
type share struct {
	slots chan struct{} // one for each call that runs
	hung  int           // calls that nobody waits for any more
	users int           // calls that run or wait for their turn
}

// New returns Calls with these limits. A call may take as long as limit, and before that
// wait as long for its turn. At most perKey calls of one key, and atOnce calls of all
// keys, run at the same time, hanging calls included. When perKey calls of one key hang, or
// atOnce calls of all keys together, another call is refused at once.
func New(limit time.Duration, perKey, atOnce int) *Calls {
	return &Calls{limit: limit, perKey: perKey, slots: make(chan struct{}, atOnce), shares: map[string]*share{}}
}

// Do runs call and returns its results. The error is ErrHangs if call takes longer than
// the limit, if its turn does not come in that time, or if too many calls hang already. key
// names who could make it hang. If call returns after Do has, and without an error, discard
// gets its value; discard may be nil.
func Do[T any](c *Calls, key string, call func() (T, error), discard func(T)) (T, error) {
	var none T
	own, err := c.enter(key)
	if err != nil {
		return none, err
	}
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	w := &waiting[T]{done: make(chan struct{})}
	go func() {
		defer c.exit(key, own)
		w.run(call)
		if w.end() {
			return
		}
		c.count(own, -1)
		if discard != nil && w.err == nil {
			discard(w.value)
		}
	}()
	select {
	case <-w.done:
		return w.result()
	case <-timer.C:
	}
	if w.leave(func() { c.count(own, 1) }) {
		return none, fmt.Errorf("%w within %v", ErrHangs, c.limit)
	}
	return w.result()
}

// Err is Do for a call without a value.
func Err(c *Calls, key string, call func() error) error {
	_, err := Do(c, key, func() (struct{}, error) { return struct{}{}, call() }, nil)
	return err
}

// enter waits for a slot of the key, and then for one of all. In this order the calls of
// one key that wait take no slot that another key could have.
func (c *Calls) enter(key string) (*share, error) {
	own, err := c.join(key)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	select {
	case own.slots <- struct{}{}:
	case <-timer.C:
		c.release(key, own)
		return nil, fmt.Errorf("%w: %d calls are under way", ErrHangs, c.perKey)
	}
	select {
	case c.slots <- struct{}{}:
		return own, nil
	case <-timer.C:
		<-own.slots
		c.release(key, own)
		return nil, fmt.Errorf("%w: %d calls are under way", ErrHangs, cap(c.slots))
	}
}

// exit gives back what enter took.
func (c *Calls) exit(key string, own *share) {
	<-c.slots
	<-own.slots
	c.release(key, own)
}

// join returns the share of a key, unless too many calls hang.
func (c *Calls) join(key string) (*share, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.shares[key]
	if own == nil {
		own = &share{slots: make(chan struct{}, c.perKey)}
	}
	if own.hung >= c.perKey || c.hung >= cap(c.slots) {
		return nil, fmt.Errorf("%w: %d calls hang already", ErrHangs, c.hung)
	}
	c.shares[key] = own
	own.users++
	return own, nil
}

func (c *Calls) release(key string, own *share) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(c.shares, key)
	}
}

func (c *Calls) count(own *share, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own.hung += by
	c.hung += by
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
