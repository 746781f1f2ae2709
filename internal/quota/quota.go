// Package quota bounds how much is held at once by one key (an agent, a user, a
// connection) and by all keys together. A caller that finds a bound reached waits for its
// turn (Acquire) or is refused (Take).
//
// Out of scope: bounds that differ from key to key, and rates.
package quota

import (
	"context"
	"math"
	"slices"
	"sync"
)

// NoLimit is a bound that is never reached.
const NoLimit = math.MaxInt

// Quota counts what each key holds. Use New. Its methods may be called at the same time.
type Quota[K comparable] struct {
	each, total int

	mu       sync.Mutex
	inUse    int
	held     map[K]int     // without zeros, so that it does not grow with every key ever seen
	waiting  map[K][]Turn  // first come, first served
	turns    []K           // the keys in waiting, the next one first
	released chan struct{} // closed by the next Release; nil if nobody waits for it
}

// Turn is a place in the queue of a key. It is closed when it has come.
type Turn chan struct{}

// New returns a Quota of which one key may hold each, and all keys together total.
func New[K comparable](each, total int) *Quota[K] {
	return &Quota[K]{each: each, total: total, held: map[K]int{}, waiting: map[K][]Turn{}}
}

// Fair returns a Quota of n of which one key may hold all but one, if there are two or
// more: a key that releases nothing does not stop the others.
func Fair[K comparable](n int) *Quota[K] { return New[K](max(1, n-1), n) }

// Outcome is what came of Take.
type Outcome int

// KeyFull and Full name the bound that would be exceeded.
const (
	Taken   Outcome = iota
	KeyFull         // of the key
	Full            // of all keys
)

// Take takes n for the key, or nothing if a bound would be exceeded. It does not wait.
// After Taken, Release must follow.
func (q *Quota[K]) Take(key K, n int) Outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case n > q.each-q.held[key]:
		return KeyFull
	case n > q.total-q.inUse:
		return Full
	}
	q.count(key, n)
	return Taken
}

// Acquire takes one for the key, and waits for its turn if a bound is reached. Keys take
// turns, and the callers of one key are served in their order. Acquire returns ctx's
// error if ctx ends first; if the error is nil, Release must follow.
func (q *Quota[K]) Acquire(ctx context.Context, key K) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return q.Wait(ctx, key, q.Enqueue(key))
}

// Enqueue is the first half of Acquire: it takes a place in the key's queue and does not
// wait. Wait must follow.
func (q *Quota[K]) Enqueue(key K) Turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting[key]) == 0 {
		q.turns = append(q.turns, key)
	}
	turn := make(Turn)
	q.waiting[key] = append(q.waiting[key], turn)
	q.handOut()
	return turn
}

// Wait is the second half of Acquire.
func (q *Quota[K]) Wait(ctx context.Context, key K, turn Turn) error {
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !q.forget(key, turn) {
			q.Release(key, 1) // the turn came at the same moment
		}
		return ctx.Err()
	}
}

// Release gives back n of the key.
func (q *Quota[K]) Release(key K, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count(key, -n)
	q.handOut()
	if q.released != nil {
		close(q.released)
		q.released = nil
	}
}

// Held returns how much the key holds.
func (q *Quota[K]) Held(key K) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held[key]
}

// InUse returns how much all keys hold. If that is nothing, nobody waits either.
func (q *Quota[K]) InUse() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inUse
}

// Load returns how much all keys hold, how much they may hold, and how many callers wait.
func (q *Quota[K]) Load() (inUse, total, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, turns := range q.waiting {
		waiting += len(turns)
	}
	return q.inUse, q.total, waiting
}

// Waiting returns how many callers of the key wait.
func (q *Quota[K]) Waiting(key K) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[key])
}

// KeyFull reports whether the key holds as much as it may hold. released is closed by the
// next Release of any key.
func (q *Quota[K]) KeyFull(key K) (full bool, released <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.released == nil {
		q.released = make(chan struct{})
	}
	return q.held[key] >= q.each, q.released
}

func (q *Quota[K]) count(key K, n int) {
	q.inUse += n
	if q.held[key] += n; q.held[key] == 0 {
		delete(q.held, key)
	}
}

// handOut serves the callers whose turn it is.
func (q *Quota[K]) handOut() {
	for q.inUse < q.total {
		i := slices.IndexFunc(q.turns, func(key K) bool { return q.held[key] < q.each })
		if i < 0 {
			return
		}
		key := q.turns[i]
		close(q.waiting[key][0])
		q.count(key, 1)
		q.turns = slices.Delete(q.turns, i, i+1)
		if q.remove(key, 0) {
			q.turns = append(q.turns, key)
		}
	}
}

// forget gives up a place in the queue, and reports whether it was still there.
func (q *Quota[K]) forget(key K, turn Turn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting[key], turn)
	if i < 0 {
		return false
	}
	if !q.remove(key, i) {
		q.turns = slices.DeleteFunc(q.turns, func(k K) bool { return k == key })
	}
	return true
}

// remove takes a place out of the key's queue, and reports whether others wait there.
func (q *Quota[K]) remove(key K, i int) bool {
	q.waiting[key] = slices.Delete(q.waiting[key], i, i+1)
	if len(q.waiting[key]) == 0 {
		delete(q.waiting, key)
		return false
	}
	return true
}
