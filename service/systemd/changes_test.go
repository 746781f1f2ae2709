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
	expect := func(what string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if names, all, err := next(ctx, changes); !all || err != nil {
			t.Errorf("%s: %v %v %v", what, names, all, err)
		}
	}
	expect("another systemd")
	waitFor(t, "the subscription", func() bool { return b.count("Subscribe") == 2 })
	if changes.Pending() {
		t.Error("told twice before the answer")
	}
	close(b.hold)
	expect("its answer")
}

// next waits for changes and takes them.
func next(ctx context.Context, c *Changes) (names []string, all bool, err error) {
	if err := c.Wait(ctx); err != nil {
		return nil, false, err
	}
	names, all = c.Take()
	return names, all, nil
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
	names, all, err := next(t.Context(), c)
	if d := cmp.Diff([]string{"a.service", "b.service"}, names); d != "" || all || err != nil {
		t.Errorf("all: %v, %v (-want +got):\n%s", all, err, d)
	}
	source.add("a.service")
	source.add("")
	source.add("b.service")
	if names, all, err = next(t.Context(), c); len(names) != 0 || !all || err != nil {
		t.Errorf("after all changed: %v, %v, %v", names, all, err)
	}
	for i := range maxPending + 1 {
		source.add(fmt.Sprint(i))
	}
	if names, all, err = next(t.Context(), c); len(names) != 0 || !all || err != nil {
		t.Errorf("after too many: %d names, %v, %v", len(names), all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Pending() {
		t.Error("changes are pending after all were fetched")
	}
	_, _, err = next(ctx, c)
	wantError(t, "next without changes", err, context.Canceled)
	c.Close()
	source.add("a.service")
	if names, all := c.Take(); len(names) != 0 || all {
		t.Errorf("after close: %v, %v", names, all)
	}
}
