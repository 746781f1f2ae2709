package systemd

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func startReady(t *testing.T, u units, name string) {
	before := uint64(time.Now().UnixMicro())
	unit := start(t, u, name, kindReady)
	if unit.Name != name || unit.ActiveState != "active" || unit.SubState != "running" || unit.JobID != 0 {
		t.Errorf("started unit is %+v", unit)
	}
	if unit.MainPID == 0 || !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(unit.InvocationID) {
		t.Errorf("process %d, invocation %q", unit.MainPID, unit.InvocationID)
	}
	if unit.StatusText != "hello" || unit.ControlGroup != "/system.slice/"+name {
		t.Errorf("status %q, control group %q", unit.StatusText, unit.ControlGroup)
	}
	if d := cmp.Diff(any([]string{environment}), unit.Digest); d != "" {
		t.Errorf("environment (-want +got):\n%s", d)
	}
	if unit.StartedUSec < before || unit.ReadyUSec < unit.StartedUSec || unit.ExitedUSec != 0 {
		t.Errorf("started %d, ready %d, exited %d; asked at %d", unit.StartedUSec, unit.ReadyUSec, unit.ExitedUSec, before)
	}
	got, err := u.Get(testContext(t), name)
	if d := cmp.Diff(unit, got); d != "" || err != nil {
		t.Errorf("get: %v (-start +get):\n%s", err, d)
	}
	list, err := u.List(testContext(t), name)
	if d := cmp.Diff([]Unit{unit.listed()}, list); d != "" || err != nil {
		t.Errorf("list: %v (-start +list):\n%s", err, d)
	}
}

func startExits(t *testing.T, u units, name string) {
	unit, err := u.Start(testContext(t), name, script(kindExit7))
	wantJobError(t, err, "failed")
	want := end{"failed", "exit-code", cldExited, 7}
	wantEnd(t, unit, want)
	if unit.ExitedUSec < unit.StartedUSec || unit.MainPID != 0 {
		t.Errorf("exited %d, started %d, process %d", unit.ExitedUSec, unit.StartedUSec, unit.MainPID)
	}
	got, err := u.Get(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	wantEnd(t, got, want)
	_, err = u.Start(testContext(t), name, script(kindReady))
	wantError(t, "start over a failed unit", err, ErrUnitExists)
	if err := u.ResetFailed(testContext(t), name); err != nil {
		t.Error(err)
	}
	wantGone(t, u, name)
	start(t, u, name, kindReady)
}

func startTimesOut(t *testing.T, u units, name string) {
	unit, err := u.Start(testContext(t), name, script(kindNever))
	wantJobError(t, err, "failed")
	if unit.ActiveState != "failed" || unit.Result != "timeout" {
		t.Errorf("unit is %s, result %s", unit.ActiveState, unit.Result)
	}
}

func startRunning(t *testing.T, u units, name string) {
	first := start(t, u, name, kindReady)
	_, err := u.Start(testContext(t), name, script(kindReady))
	wantError(t, "second start", err, ErrUnitExists)
	got, err := u.Get(testContext(t), name)
	if d := cmp.Diff(first, got); d != "" || err != nil {
		t.Errorf("the first unit changed: %v (-before +after):\n%s", err, d)
	}
}

func startAbandoned(t *testing.T, u units, name string) {
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	started := make(chan error, 1)
	go func() {
		_, err := u.Start(ctx, name, script(kindSlow))
		started <- err
	}()
	waitFor(t, "the start", func() bool {
		unit, err := u.Get(testContext(t), name)
		return err == nil && unit.ActiveState == "activating"
	})
	cancel()
	wantError(t, "start", <-started, context.Canceled)
	waitFor(t, "the abandoned start", func() bool {
		unit, err := u.Get(testContext(t), name)
		return err == nil && unit.ActiveState == "active"
	})
}

func startTogether(t *testing.T, u units, name string) {
	var won, refused atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := u.Start(testContext(t), name, script(kindReady))
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ErrUnitExists):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d starts won, %d were refused", won.Load(), refused.Load())
	}
}

func startAfterStop(t *testing.T, u units, name string) {
	for range 20 {
		start(t, u, name, kindReady)
		if _, err := u.Stop(testContext(t), name, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func expired(t *testing.T, u units, name string) {
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	_, err := u.Start(ctx, name, script(kindReady))
	wantError(t, "start", err, context.Canceled)
	_, err = u.Stop(ctx, name, 0)
	wantError(t, "stop", err, context.Canceled)
	_, err = u.Get(ctx, name)
	wantError(t, "get", err, context.Canceled)
	_, err = u.List(ctx, name)
	wantError(t, "list", err, context.Canceled)
	wantGone(t, u, name)
}
