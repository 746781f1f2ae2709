package systemd

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
