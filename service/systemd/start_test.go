package systemd

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus/bustest"
)

func TestStartDecidesByTheUnit(t *testing.T) {
	t.Parallel()
	started := replying(dbus.ObjectPath(jobPrefix + "5"))
	now := uint64(time.Now().Add(time.Hour).UnixMicro())
	gone := with(properties("inactive", 0), "LoadState", "not-found")
	tests := map[string]struct {
		unit   scriptedUnit
		want   error
		starts int
		short  bool // calls are given up soon
	}{
		"no reply, but the unit is there": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             replying(with(properties("active", 0), "InactiveExitTimestamp", now)),
			}, nil, 1, false,
		},
		"no reply, and no unit": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             counted(replying(gone), replying(properties("active", 0))),
			}, nil, 2, false,
		},
		"no reply, and another's unit": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             replying(with(properties("active", 0), "InactiveExitTimestamp", uint64(1))),
			}, ErrUnitExists, 1, false,
		},
		"systemd was away": {
			scriptedUnit{"StartTransientUnit": counted(failing(noOwner), started)}, nil, 2, false,
		},
		"the bus went away": {
			scriptedUnit{"StartTransientUnit": counted(hangingUp, started)}, ErrDisconnected, 1, false,
		},
		"the unit exists": {
			scriptedUnit{"StartTransientUnit": failing(isThere)}, ErrUnitExists, 1, false,
		},
		"no answer in time": {
			scriptedUnit{"StartTransientUnit": silent}, ErrDisconnected, 1, true,
		},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := newScriptedBus(t, test.unit.answer)
			c := bus.dial(nil)
			if test.short {
				c = bus.dialImpatient(2 * time.Second)
			}
			u, err := c.Start(testContext(t), unit, nil)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err == nil && u.ActiveState != "active" {
				t.Errorf("unit is %+v", u)
			}
			if n := bus.count("StartTransientUnit"); n != test.starts {
				t.Errorf("%d starts, want %d", n, test.starts)
			}
		})
	}
}

func TestStartWaitsWithoutSignals(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{
		"GetAll": counted(replying(properties("activating", 5)), replying(properties("active", 0))),
	}.answer)
	u, err := bus.dial(nil).Start(testContext(t), unit, nil)
	if err != nil || u.ActiveState != "active" {
		t.Errorf("start: %+v, %v", u, err)
	}
}

func TestStartBelievesTheUnitNotTheSignal(t *testing.T) {
	t.Parallel()
	var job atomic.Uint32
	job.Store(5)
	bus := newScriptedBus(t, scriptedUnit{
		"GetAll": func(c *bustest.Call) { c.Reply(properties("activating", job.Load())) },
	}.answer)
	c := bus.dial(nil)
	done := make(chan error, 1)
	go func() {
		_, err := c.Start(testContext(t), unit, nil)
		done <- err
	}()
	removed := func(result string) {
		bus.Signal(owner, managerPath, "org.freedesktop.systemd1.Manager", "JobRemoved",
			uint32(5), dbus.ObjectPath(jobPrefix+"5"), unit, result)
	}
	waitFor(t, "the start", func() bool { return bus.count("StartTransientUnit") == 1 })
	removed("done")
	waitFor(t, "a look at the unit", func() bool { return bus.count("GetAll") > 0 })
	select {
	case err := <-done:
		t.Fatalf("the start ended with its job under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	job.Store(0)
	removed("dependency")
	wantJobError(t, <-done, "done", "dependency")
}

func TestJobResultIsGuessedWhenItsSignalIsLost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		unit        Unit
		start, stop string
	}{
		"running":    {Unit{ActiveState: "active", Result: "success"}, "done", "canceled"},
		"failed":     {Unit{ActiveState: "failed", Result: "exit-code"}, "failed", "done"},
		"restarting": {Unit{ActiveState: "activating", SubState: "auto-restart"}, "failed", "canceled"},
		"other job":  {Unit{ActiveState: "active", JobID: 7}, "canceled", "canceled"},
		"forgotten":  {Unit{LoadState: "not-found", ActiveState: "inactive", Result: "success"}, "done", "done"},
		"timed out":  {Unit{ActiveState: "deactivating", Result: "timeout"}, "failed", "canceled"},
	}
	for what, test := range tests {
		if got := guessStart(test.unit); got != test.start {
			t.Errorf("start, %s: %q, want %q", what, got, test.start)
		}
		if got := guessStop(test.unit); got != test.stop {
			t.Errorf("stop, %s: %q, want %q", what, got, test.stop)
		}
	}
}

func TestJobThatNeverEndsIsLeft(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{"GetAll": replying(properties("activating", 5))}.answer)
	c := bus.dial(func(config *Config) { config.JobTimeout = 100 * time.Millisecond })
	_, err := c.Start(testContext(t), unit, nil)
	wantError(t, "start", err, context.DeadlineExceeded)
}
