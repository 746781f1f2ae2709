package systemd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStopLetsGoOfTheUnit(t *testing.T) {
	t.Parallel()
	failed := with(with(properties("failed", 0), "Result", "exit-code"), "ExecMainStatus", int32(7))
	tests := map[string]struct {
		unit  scriptedUnit
		reset int
		want  error
	}{
		"stopped":    {scriptedUnit{"GetAll": replying(properties("inactive", 0))}, 0, nil},
		"failed":     {scriptedUnit{"GetAll": replying(failed)}, 1, nil},
		"no unit":    {scriptedUnit{"StopUnit": failing(notThere)}, 0, ErrNoSuchUnit},
		"unreadable": {scriptedUnit{"GetAll": failing("org.example.Odd")}, 0, errAny},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := newScriptedBus(t, test.unit.answer)
			_, err := bus.dial(nil).Stop(testContext(t), unit, 0)
			if test.want == errAny && err == nil || test.want != errAny && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			got := []int{bus.count("Ref"), bus.count("Unref"), bus.count("ResetFailedUnit"), bus.count("KillUnit")}
			if d := cmp.Diff([]int{1, 1, test.reset, 0}, got); d != "" {
				t.Errorf("ref, unref, reset, kill (-want +got):\n%s", d)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestStopLetsGoWithoutItsCaller(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{"GetAll": replying(properties("deactivating", 5))}.answer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	c := bus.dial(nil)
	go func() {
		_, err := c.Stop(ctx, unit, 10*time.Millisecond)
		done <- err
	}()
	waitFor(t, "the kill", func() bool { return bus.count("KillUnit") == 1 })
	cancel()
	wantError(t, "stop", <-done, context.Canceled)
	got := []int{bus.count("Ref"), bus.count("Unref"), bus.count("KillUnit")}
	if d := cmp.Diff([]int{1, 1, 1}, got); d != "" {
		t.Errorf("ref, unref, kill (-want +got):\n%s", d)
	}
}
