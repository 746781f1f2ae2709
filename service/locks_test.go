package service

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func TestConcurrentLocksKeepOrder(t *testing.T) {
	t.Parallel()
	locks := newIDLocks()
	id := interfaces.NewID("agent", "profile", "key")
	unlock := lock(t, locks, id)
	var mu sync.Mutex
	var order, want []int
	var all sync.WaitGroup
	for i := range 50 {
		want = append(want, i)
		all.Go(func() {
			unlock, err := locks.lockLaunch(context.Background(), id, newInterruption(nil))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			unlock()
		})
		for waiting(locks, id) != i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	unlock()
	all.Wait()
	diff(t, "turns", want, order)
	diff(t, "locks that are left", 0, locks.turns.InUse()+len(locks.launches))
}

// TestConcurrentLockGivenUp shows that who gives up leaves nothing behind, and
// that those behind it neither lose their turn nor get it too early.
func TestConcurrentLockGivenUp(t *testing.T) { // alone: it counts goroutines
	locks := newIDLocks()
	id := interfaces.NewID("agent", "profile", "key")
	unlock := lock(t, locks, id)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var given sync.WaitGroup
	for range 1000 {
		given.Go(func() {
			if _, err := locks.lockLaunch(ctx, id, newInterruption(nil)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
		})
	}
	given.Wait()
	diff(t, "waiting", 0, waiting(locks, id))
	if now := runtime.NumGoroutine(); now > before+100 {
		t.Errorf("%d goroutines are left of those that gave up", now-before)
	}
	if _, ok := locks.tryLock(id); ok {
		t.Error("a held lock was given out")
	}
	unlock()
	lock(t, locks, id)
}

func lock(t *testing.T, locks *idLocks, id interfaces.ID) (unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unlock, err := locks.lockLaunch(ctx, id, newInterruption(nil))
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

func waiting(l *idLocks, id interfaces.ID) int { return l.turns.Waiting(id) }
