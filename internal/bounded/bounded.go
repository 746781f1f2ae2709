// Package bounded stops waiting for calls that somebody else can keep from returning: a
// system call on a directory whose lock an agent holds, or on a file system that does not
// answer (fuse(4)). The kernel cannot cancel such a call, so it goes on in a goroutine (and
// thread) of its own, and a late result is thrown away.
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
	slots  chan struct{} // one element for each call that runs

	mu     sync.Mutex
	shares map[string]*share // of the keys whose calls run or wait
	hung   int               // calls whose callers have given up
}

// share counts the calls of one key.
type share struct {
	slots chan struct{} // one element for each call that runs
	hung  int           // calls whose callers have given up
	users int           // calls that run or wait for their turn
}

// result is what a call returned.
type result[T any] struct {
	value T
	err   error
	panic string // value and stack; "" if the call did not panic
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
	returned := make(chan result[T])
	left := make(chan struct{}) // closed when Do gives up
	go func() {
		defer c.exit(key, own)
		r := run(call)
		select {
		case returned <- r:
			return
		case <-left:
		}
		c.count(own, -1)
		if discard != nil && r.err == nil {
			discard(r.value)
		}
	}()
	var r result[T]
	select {
	case r = <-returned:
	case <-timer.C:
		select {
		case r = <-returned: // at the last moment
		default:
			c.count(own, 1)
			close(left)
			return none, fmt.Errorf("%w within %v", ErrHangs, c.limit)
		}
	}
	if r.panic != "" {
		panic(r.panic) // for the goroutine that waits to handle
	}
	return r.value, r.err
}

// run makes the call. A panic is part of the result.
func run[T any](call func() (T, error)) (r result[T]) {
	defer func() {
		if value := recover(); value != nil {
			r.panic = fmt.Sprintf("%v\n%s", value, debug.Stack())
			r.err = errors.New("panic")
		}
	}()
	r.value, r.err = call()
	return r
}

// Err is Do for a call without a value.
func Err(c *Calls, key string, call func() error) error {
	_, err := Do(c, key, func() (struct{}, error) { return struct{}{}, call() }, nil)
	return err
}

// enter waits for a slot of the key, and then for a slot of all keys. In this order, calls
// that wait for their key take no slot of other keys.
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

// exit frees the slots of enter.
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
