package quota

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// join queues the key once more, and returns when it waits.
func join(t *testing.T, q *Quota[string], key string, got chan<- string) {
	t.Helper()
	before := q.Waiting(key)
	go func() {
		if err := q.Acquire(context.Background(), key); err != nil {
			t.Error(err)
		}
		got <- key
	}()
	for q.Waiting(key) == before {
		time.Sleep(time.Millisecond)
	}
}

func acquire(t *testing.T, q *Quota[string], key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Acquire(ctx, key); err != nil {
		t.Fatal(err)
	}
}

// empty fails the test unless nothing is held or counted.
func empty[K comparable](t *testing.T, q *Quota[K]) {
	t.Helper()
	if q.inUse+len(q.held)+len(q.waiting)+len(q.turns) != 0 {
		t.Errorf("left over: %+v", q)
	}
}

func TestConcurrentKeysTakeTurns(t *testing.T) {
	t.Parallel()
	q := Fair[string](1)
	acquire(t, q, "busy")
	got := make(chan string)
	for _, key := range []string{"busy", "busy", "busy", "busy", "calm", "busy", "third"} {
		join(t, q, key, got)
	}
	if inUse, total, waiting := q.Load(); inUse != 1 || total != 1 || waiting != 7 {
		t.Errorf("load: %d of %d, %d wait; want 1 of 1, and 7", inUse, total, waiting)
	}
	order := []string{}
	for last, i := "busy", 0; i < 7; i++ {
		q.Release(last, 1)
		last = <-got
		order = append(order, last)
	}
	if diff := cmp.Diff([]string{"busy", "calm", "third", "busy", "busy", "busy", "busy"}, order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	q.Release("busy", 1)
	empty(t, q)
}

// TestConcurrentFairKeepsOneForOthers shows that a key that releases nothing does not stop
// another one.
func TestConcurrentFairKeepsOneForOthers(t *testing.T) {
	t.Parallel()
	q := Fair[string](4)
	for range 3 {
		acquire(t, q, "hanging")
	}
	got := make(chan string, 1)
	join(t, q, "hanging", got)
	if outcome := q.Take("hanging", 1); outcome != KeyFull {
		t.Errorf("Take beside a caller that waits: %v", outcome)
	}
	for range 100 {
		acquire(t, q, "calm")
		q.Release("calm", 1)
	}
	select {
	case <-got:
		t.Error("one key got everything")
	default:
	}
	q.Release("hanging", 1)
	<-got
}

func TestConcurrentTurnGivenUp(t *testing.T) {
	t.Parallel()
	q := Fair[string](1)
	acquire(t, q, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := q.Acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	q.Release("a", 1)
	if err := q.Acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a free place after the deadline: %v, want the deadline", err)
	}
	acquire(t, q, "c")
	q.Release("c", 1)
	empty(t, q)
}

// TestConcurrentTurnGivenUpWhenItComes shows that a turn that comes together with the end
// of the context is handed on.
func TestConcurrentTurnGivenUpWhenItComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := Fair[string](1)
		for range 100 {
			acquire(t, q, "a")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- q.Acquire(ctx, "b") }()
			synctest.Wait()
			cancel()
			q.Release("a", 1)
			if <-done == nil {
				q.Release("b", 1)
			}
			empty(t, q)
		}
	})
}

func TestTake(t *testing.T) {
	t.Parallel()
	q := New[string](3, 5)
	for i, step := range []struct {
		key  string
		n    int
		want Outcome
	}{
		{"a", 4, KeyFull},
		{"a", 2, Taken},
		{"a", 2, KeyFull},
		{"a", 1, Taken},
		{"b", 3, Full},
		{"b", 2, Taken},
		{"c", 1, Full},
		{"b", 2, KeyFull}, // the key's own bound is looked at first
	} {
		if got := q.Take(step.key, step.n); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if q.Held("a") != 3 || q.InUse() != 5 {
		t.Errorf("%d of a, %d of all, want 3 and 5", q.Held("a"), q.InUse())
	}
	q.Release("a", 3)
	q.Release("b", 2)
	empty(t, q)
	unbounded := New[string](NoLimit, NoLimit)
	if unbounded.Take("a", 1<<40) != Taken || unbounded.Take("a", 1) != Taken {
		t.Error("NoLimit is a limit")
	}
}

func TestKeyFull(t *testing.T) {
	t.Parallel()
	q := New[string](1, 2)
	if full, _ := q.KeyFull("a"); full {
		t.Error("full although nothing is held")
	}
	q.Take("a", 1)
	q.Take("b", 1)
	full, released := q.KeyFull("a")
	if !full {
		t.Error("not full although it holds all it may")
	}
	select {
	case <-released:
		t.Error("something is released")
	default:
	}
	q.Release("b", 1)
	<-released
	if full, _ := q.KeyFull("b"); full {
		t.Error("full after the release")
	}
}
