package systemd

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func stopRunning(t *testing.T, u units, name string) {
	started := start(t, u, name, kindReady)
	stopped, err := u.Stop(testContext(t), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEnd(t, stopped, end{"inactive", "success", cldKilled, 15})
	if stopped.InvocationID != started.InvocationID || stopped.ExitedUSec < started.ReadyUSec {
		t.Errorf("stopped unit is %+v", stopped)
	}
	wantGone(t, u, name)
}

func stopExit3(t *testing.T, u units, name string) {
	start(t, u, name, kindExit3)
	stopped, err := u.Stop(testContext(t), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEnd(t, stopped, end{"failed", "exit-code", cldExited, 3})
	wantGone(t, u, name)
}

func stopIgnoring(t *testing.T, u units, name string) {
	start(t, u, name, kindIgnoring)
	begun := time.Now()
	stopped, err := u.Stop(testContext(t), name, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond || took > patience/2 {
		t.Errorf("stop took %s", took)
	}
	wantEnd(t, stopped, end{"failed", "signal", cldKilled, 9})
	wantGone(t, u, name)
}

func stopFailed(t *testing.T, u units, name string) {
	_, err := u.Start(testContext(t), name, script(kindExit7))
	wantJobError(t, err, "failed")
	stopped, err := u.Stop(testContext(t), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEnd(t, stopped, end{"failed", "exit-code", cldExited, 7})
	wantGone(t, u, name)
}

// stopUnanswered gives up starts at moments of all kinds, also when the request was sent
// and not answered: a stop afterwards leaves no unit, now or later.
func stopUnanswered(t *testing.T, u units, name string) {
	for round := range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(round)*100*time.Microsecond)
		_, _ = u.Start(ctx, name, script(kindSlow))
		cancel()
		if _, err := u.Stop(testContext(t), name, 0); err != nil && !errors.Is(err, ErrNoSuchUnit) {
			t.Fatalf("round %d: %v", round, err)
		}
		wantGone(t, u, name)
	}
}

func stopStarting(t *testing.T, u units, name string) {
	started := make(chan error, 1)
	go func() {
		_, err := u.Start(testContext(t), name, script(kindSlow))
		started <- err
	}()
	waitFor(t, "the start", func() bool {
		unit, err := u.Get(testContext(t), name)
		return err == nil && unit.ActiveState == "activating"
	})
	if _, err := u.Stop(testContext(t), name, 0); err != nil {
		t.Fatal(err)
	}
	wantJobError(t, <-started, "canceled")
	wantGone(t, u, name)
}

func stopTwice(t *testing.T, u units, name string) {
	start(t, u, name, kindExit3)
	var ends [2]Unit
	var errs [2]error
	var wg sync.WaitGroup
	for i := range ends {
		wg.Go(func() { ends[i], errs[i] = u.Stop(testContext(t), name, 0) })
	}
	wg.Wait()
	for i := range ends {
		if errors.Is(errs[i], ErrNoSuchUnit) && errs[1-i] == nil {
			continue // it came when the other was through
		}
		if errs[i] != nil {
			t.Errorf("stop: %v", errs[i])
		}
	}
	wantGone(t, u, name)
}

func stopQueued(t *testing.T, u units, name string) {
	start(t, u, name, kindReady)
	if err := u.QueueStop(testContext(t), name); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the stop", func() bool {
		_, err := u.Get(testContext(t), name)
		return errors.Is(err, ErrNoSuchUnit)
	})
	wantError(t, "once more", u.QueueStop(testContext(t), name), ErrNoSuchUnit)
}

// waitsForItsRestart finds the end of the last run in the unit, and ends the wait.
func waitsForItsRestart(t *testing.T, u units, name string) {
	_, err := u.Start(testContext(t), name, script(kindReturns))
	wantJobError(t, err, "failed")
	got, err := u.Get(testContext(t), name)
	if err != nil || !got.WaitsForRestart() || !got.Restarts {
		t.Fatalf("%+v, %v, want that it waits", got, err)
	}
	wantEnd(t, got, end{"activating", "exit-code", cldExited, 7})
	wait := time.Duration(got.RestartUSec-got.ExitedUSec) * time.Microsecond
	if wait < time.Hour-time.Second || wait > time.Hour+patience {
		t.Errorf("it waits for %s", wait)
	}
	listed, err := u.List(testContext(t), name)
	if err != nil || len(listed) != 1 || listed[0].ExecMainStatus != 7 || listed[0].RestartUSec != got.RestartUSec {
		t.Errorf("list is %+v, %v", listed, err)
	}
	if err := u.QueueStop(testContext(t), name); err != nil {
		t.Error(err)
	}
	waitFor(t, "the stop", func() bool {
		_, err := u.Get(testContext(t), name)
		return errors.Is(err, ErrNoSuchUnit)
	})
}

func noUnit(t *testing.T, u units, name string) {
	wantGone(t, u, name)
	_, err := u.Stop(testContext(t), name, 0)
	wantError(t, "stop", err, ErrNoSuchUnit)
	wantError(t, "reset", u.ResetFailed(testContext(t), name), ErrNoSuchUnit)
	wantGone(t, u, name)
}
