package service

import (
	"context"
	"fmt"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestConcurrentLimitsCount(t *testing.T) {
	t.Parallel()
	l := newLimits()
	var there []interfaces.ID
	list := func(context.Context) ([]interfaces.ID, error) { return there, nil }
	reserve := func(i int) bool {
		t.Helper()
		ok, err := l.reserve(t.Context(), interfaces.NewID("a", "p", fmt.Sprint(i)), 3, list)
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
		id := interfaces.NewID("a", "p", fmt.Sprint(i))
		there = append(there, id)
		l.done(id)
	}
	if reserve(3) {
		t.Error("a fourth is let in while three are there")
	}
	there = there[:2]
	if !reserve(3) {
		t.Error("a third is refused after one has gone")
	}
}
