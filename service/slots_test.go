package service

import (
	"context"
	"errors"
	"testing"
	"time"
)

// join queues the agent once more, and returns when it is in the row.
func join(t *testing.T, s *slots, agent string, got chan<- string) {
	t.Helper()
	before := len(row(s, agent))
	go func() {
		if err := s.acquire(context.Background(), agent); err != nil {
			t.Error(err)
		}
		got <- agent
	}()
	for len(row(s, agent)) == before {
		time.Sleep(time.Millisecond)
	}
}

func row(s *slots, agent string) []chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[agent]
}

func take(t *testing.T, s *slots, agent string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.acquire(ctx, agent); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentSlotsTakeTurns(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	take(t, s, "busy")
	got := make(chan string)
	for _, agent := range []string{"busy", "busy", "busy", "busy", "calm", "busy", "third"} {
		join(t, s, agent, got)
	}
	order := []string{}
	for last, i := "busy", 0; i < 7; i++ {
		s.release(last)
		last = <-got
		order = append(order, last)
	}
	diff(t, "turns", []string{"busy", "calm", "third", "busy", "busy", "busy", "busy"}, order)
	s.release("busy")
	if s.free != 1 || len(s.waiting)+len(s.turns)+len(s.held) != 0 {
		t.Errorf("left over: %+v", s)
	}
}

// TestConcurrentSlotsKeepOneForOthers shows that an agent whose starts hang does
// not hold up another one.
func TestConcurrentSlotsKeepOneForOthers(t *testing.T) {
	t.Parallel()
	s := newSlots(4)
	for range 3 {
		take(t, s, "hanging")
	}
	got := make(chan string, 1)
	join(t, s, "hanging", got)
	for range 100 {
		take(t, s, "calm")
		s.release("calm")
	}
	select {
	case <-got:
		t.Error("one agent got all slots")
	default:
	}
	s.release("hanging")
	<-got
}

func TestConcurrentSlotGivenUp(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	take(t, s, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	s.release("a")
	if err := s.acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a free slot for one whose time is over: %v, want the deadline", err)
	}
	take(t, s, "c")
}
