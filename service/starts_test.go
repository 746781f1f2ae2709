package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// wait queues a launch of the agent, and returns when it is in the row.
func wait(t *testing.T, q *startQueue, agent string, got chan<- string) {
	t.Helper()
	before := len(row(q, agent))
	go func() {
		if err := q.acquire(context.Background(), agent); err != nil {
			t.Error(err)
		}
		got <- agent
	}()
	for len(row(q, agent)) == before {
		time.Sleep(time.Millisecond)
	}
}

func row(q *startQueue, agent string) []chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting[agent]
}

func TestConcurrentStartsTakeTurns(t *testing.T) {
	t.Parallel()
	q := newStartQueue(1)
	if err := q.acquire(t.Context(), "busy"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	for _, agent := range []string{"busy", "busy", "busy", "busy", "calm", "busy", "third"} {
		wait(t, q, agent, got)
	}
	var order []string
	for range 7 {
		q.release()
		order = append(order, <-got)
	}
	want := []string{"busy", "calm", "third", "busy", "busy", "busy", "busy"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	q.release()
	if q.free != 1 || len(q.waiting) != 0 || len(q.turns) != 0 {
		t.Errorf("left over: %d free, %d waiting, %d turns", q.free, len(q.waiting), len(q.turns))
	}
}

func TestConcurrentStartGivenUp(t *testing.T) {
	t.Parallel()
	q := newStartQueue(1)
	if err := q.acquire(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.acquire(ctx, "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	q.release()
	if err := q.acquire(t.Context(), "c"); err != nil {
		t.Errorf("the slot is lost: %v", err)
	}
}

func TestConcurrentStartsOverloaded(t *testing.T) {
	t.Parallel()
	q := newStartQueue(0)
	for range maxWaiting {
		if _, err := q.enqueue("a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.enqueue("a"); !errors.Is(err, interfaces.ErrOverloaded) {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
	if _, err := q.enqueue("b"); err != nil {
		t.Errorf("another agent is refused too: %v", err)
	}
}
