package systemd

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// maxPending bounds the names that wait for a subscriber.
const maxPending = 10000

// Changes tells which units may have changed. Changes that are not taken are merged, so that
// a slow subscriber does not delay the connection.
type Changes struct {
	source *changes
	wake   chan struct{}

	// guarded by source.mu
	pending map[string]struct{}
	all     bool
}

// Wait waits until there are changes to take. The error is ctx's.
func (c *Changes) Wait(ctx context.Context) error {
	for !c.Pending() {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Pending reports whether there are changes to take.
func (c *Changes) Pending() bool {
	c.source.mu.Lock()
	defer c.source.mu.Unlock()
	return c.all || len(c.pending) > 0
}

// Take returns the sorted names of the units, of any kind and owner, that may have changed
// since the last call. If all is true, any unit may have changed: the bus or systemd
// restarted, or the names were too many.
func (c *Changes) Take() (names []string, all bool) {
	c.source.mu.Lock()
	defer c.source.mu.Unlock()
	names, all = slices.Sorted(maps.Keys(c.pending)), c.all
	c.pending, c.all = map[string]struct{}{}, false
	return names, all
}

// Close ends the subscription.
func (c *Changes) Close() {
	c.source.mu.Lock()
	defer c.source.mu.Unlock()
	delete(c.source.subscribers, c)
}

// changes passes changes on to subscribers. The zero value is ready.
type changes struct {
	mu          sync.Mutex
	subscribers map[*Changes]struct{}
}

func (c *changes) subscribe() *Changes {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Changes{source: c, wake: make(chan struct{}, 1), pending: map[string]struct{}{}}
	if c.subscribers == nil {
		c.subscribers = map[*Changes]struct{}{}
	}
	c.subscribers[s] = struct{}{}
	return s
}

// add announces a change of one unit, or with an empty name of any unit.
func (c *changes) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subscribers {
		if name == "" || len(s.pending) >= maxPending {
			s.all = true
			clear(s.pending)
		} else if !s.all {
			s.pending[name] = struct{}{}
		}
		wake(s.wake)
	}
}
