package service

import (
	"context"
	"fmt"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func sidecarID(i int) interfaces.ID { return interfaces.NewID("a", "p", fmt.Sprint(i)) }

func TestConcurrentLimitsCount(t *testing.T) {
	t.Parallel()
	l := newLimits()
	var there []interfaces.ID
	reserve := func(i int) bool {
		t.Helper()
		ok, err := l.reserve(t.Context(), sidecarID(i), 3, func(context.Context) ([]interfaces.ID, error) { return there, nil })
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for i := range 3 {
		if !reserve(i) {
			t.Fatalf("sidecar %d of 3 is refused", i)
		}
	}
	if reserve(3) {
		t.Error("a fourth is let in while three are under way")
	}
	for i := range 3 {
		there = append(there, sidecarID(i))
		l.done(sidecarID(i), true)
	}
	if reserve(3) {
		t.Error("a fourth is let in while three are there")
	}
	there = there[:2]
	if !reserve(3) {
		t.Error("a third is refused after one has gone")
	}
	l.done(sidecarID(3), false)
	if !l.take(sidecarID(4), 3) {
		t.Error("one that was not started counts still")
	}
}

// TestConcurrentLimitsRecount shows that what starts and ends while a list is
// made is counted, though the list does not have it.
func TestConcurrentLimitsRecount(t *testing.T) {
	t.Parallel()
	l := newLimits()
	empty := func(context.Context) ([]interfaces.ID, error) { return nil, nil }
	if ok, err := l.reserve(t.Context(), sidecarID(0), 2, empty); !ok || err != nil {
		t.Fatal(ok, err)
	}
	ok, err := l.reserve(t.Context(), sidecarID(2), 1, func(context.Context) ([]interfaces.ID, error) {
		l.done(sidecarID(0), true) // after the list was made, before it is read
		if !l.take(sidecarID(1), 2) {
			t.Error("the second of two is refused")
		}
		l.done(sidecarID(1), true)
		return nil, nil
	})
	if ok || err != nil {
		t.Fatal(ok, err)
	}
	if l.take(sidecarID(2), 2) {
		t.Error("a third of two is let in after a recount that missed the others")
	}
}
