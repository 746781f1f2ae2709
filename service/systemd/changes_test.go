package systemd

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMonitorHearsWhatCameBeforeASubscription has a look at the units come before the
// answer of another systemd, which has announced nothing until then.
func TestMonitorHearsWhatCameBeforeASubscription(t *testing.T) {
	t.Parallel()
	b := newScriptedBus(t, nil)
	c := b.dial(nil)
	changes := c.Changes()
	defer changes.Close()
	b.mu.Lock()
	b.hold = make(chan struct{})
	b.mu.Unlock()
	b.Signal(busName, busPath, busName, "NameOwnerChanged", destination, owner, ":1.2")
	next := func(what string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if names, all, err := changes.Next(ctx); !all || err != nil {
			t.Errorf("%s: %v %v %v", what, names, all, err)
		}
	}
	next("another systemd")
	waitFor(t, "the subscription", func() bool { return b.count("Subscribe") == 2 })
	if changes.Pending() {
		t.Error("told twice before the answer")
	}
	close(b.hold)
	next("its answer")
}

func TestChangesAreMerged(t *testing.T) {
	t.Parallel()
	var source changes
	c := source.subscribe()
	for range 3 {
		source.add("b.service")
		source.add("a.service")
	}
	if err := c.Wait(t.Context()); err != nil || !c.Pending() {
		t.Errorf("wait: %v, pending: %v", err, c.Pending())
	}
	names, all, err := c.Next(t.Context())
	if d := cmp.Diff([]string{"a.service", "b.service"}, names); d != "" || all || err != nil {
		t.Errorf("all: %v, %v (-want +got):\n%s", all, err, d)
	}
	source.add("a.service")
	source.add("")
	source.add("b.service")
	if names, all, err = c.Next(t.Context()); len(names) != 0 || !all || err != nil {
		t.Errorf("after all changed: %v, %v, %v", names, all, err)
	}
	for i := range maxPending + 1 {
		source.add(fmt.Sprint(i))
	}
	if names, all, err = c.Next(t.Context()); len(names) != 0 || !all || err != nil {
		t.Errorf("after too many: %d names, %v, %v", len(names), all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Pending() {
		t.Error("changes are pending after all were fetched")
	}
	_, _, err = c.Next(ctx)
	wantError(t, "next without changes", err, context.Canceled)
	c.Close()
	source.add("a.service")
	if names, all := c.Take(); len(names) != 0 || all {
		t.Errorf("after close: %v, %v", names, all)
	}
}
