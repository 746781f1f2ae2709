package service

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestConcurrentLocksKeepOrder(t *testing.T) {
	t.Parallel()
	var locks idLocks
	id := interfaces.NewID("agent", "profile", "key")
	first, err := locks.lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order, want []int
	var all sync.WaitGroup
	for i := range 50 {
		want = append(want, i)
		queued := tail(&locks, id)
		all.Go(func() {
			unlock, err := locks.lock(context.Background(), id)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			unlock()
		})
		for tail(&locks, id) == queued {
			time.Sleep(time.Millisecond)
		}
	}
	first()
	all.Wait()
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if len(locks.tails) != 0 {
		t.Errorf("%d locks are left", len(locks.tails))
	}
}

func TestConcurrentLockGivenUp(t *testing.T) {
	t.Parallel()
	var locks idLocks
	id := interfaces.NewID("agent", "profile", "key")
	first, err := locks.lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := locks.lock(ctx, id); err == nil {
		t.Fatal("a lock that is held was given out")
	}
	got := make(chan struct{})
	go func() {
		unlock, err := locks.lock(context.Background(), id)
		if err == nil {
			unlock()
		}
		close(got)
	}()
	select {
	case <-got:
		t.Fatal("the one behind who gave up got its turn before the first was done")
	case <-time.After(50 * time.Millisecond):
	}
	first()
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Fatal("the one behind who gave up never got its turn")
	}
}

func tail(l *idLocks, id interfaces.ID) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tails[id]
}
