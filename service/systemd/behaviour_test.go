package systemd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// units is what Conn and Fake have in common.
type units interface {
	Start(ctx context.Context, name string, properties []Property) (Unit, error)
	Stop(ctx context.Context, name string, killAfter time.Duration) (Unit, error)
	Get(ctx context.Context, name string) (Unit, error)
	List(ctx context.Context, pattern string) ([]Unit, error)
	Trigger(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
	QueueStop(ctx context.Context, name string) error
	Changes() *Changes
	Close() error
}

var (
	_ units = (*Conn)(nil)
	_ units = (*Fake)(nil)
)

// Kinds of services that the behaviours need. They are the Description of the
// unit, by which the fake knows what to play.
const (
	kindReady    = "ready"    // says READY and STATUS=hello
	kindExit7    = "exit7"    // exits with 7 before it is ready
	kindNever    = "never"    // is not ready in time
	kindSlow     = "slow"     // is ready after half a second
	kindExit3    = "exit3"    // is ready, exits with 3 on SIGTERM
	kindIgnoring = "ignoring" // is ready, ignores SIGTERM
	kindDies     = "dies"     // is ready, exits with 5 after a while
	kindReturns  = "returns"  // exits with 7, and is started again after an hour
)

// behaviours holds for the real systemd and for the fake.
func behaviours() map[string]func(t *testing.T, u units, name string) {
	return map[string]func(t *testing.T, u units, name string){
		"start answers a ready unit":                  startReady,
		"start that exits fails with its code":        startExits,
		"start that is not ready in time fails":       startTimesOut,
		"start of a running unit is refused":          startRunning,
		"start goes on without its caller":            startAbandoned,
		"of many starts of one name one wins":         startTogether,
		"stop answers how the process ended":          stopRunning,
		"stop answers a failing exit and forgets it":  stopExit3,
		"stop kills what does not end":                stopIgnoring,
		"stop of a failed unit answers and forgets":   stopFailed,
		"stop cancels a start":                        stopStarting,
		"stop finds a start that nobody waits for":    stopUnanswered,
		"two stops answer the same":                   stopTwice,
		"a queued stop is carried out":                stopQueued,
		"a unit waits for its restart":                waitsForItsRestart,
		"nothing is no unit":                          noUnit,
		"list is sorted and filtered":                 listSorted,
		"list shows a unit that died":                 listDied,
		"a start after a stop finds the name free":    startAfterStop,
		"changes name the unit":                       changesNameUnit,
		"a deadline that has passed is the only news": expired,
	}
}

func TestFakeBehavesLikeSystemd(t *testing.T) {
	t.Parallel()
	for what, behave := range behaviours() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			behave(t, scripted(), "sdt-fake.service")
		})
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, u units, name, kind string) Unit {
	t.Helper()
	unit, err := u.Start(testContext(t), name, script(kind))
	if err != nil {
		t.Fatalf("start %s: %v", kind, err)
	}
	return unit
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func wantJobError(t *testing.T, err error, results ...string) {
	t.Helper()
	var job *JobError
	if !errors.As(err, &job) {
		t.Fatalf("error is %v, want a job error", err)
	}
	for _, r := range results {
		if job.Result == r {
			return
		}
	}
	t.Errorf("job result %q, want one of %q", job.Result, results)
}

// end is how a unit ended, what tests compare.
type end struct {
	State, Result string
	Code, Status  int32
}

func wantEnd(t *testing.T, u Unit, want end) {
	t.Helper()
	got := end{u.ActiveState, u.Result, u.ExecMainCode, u.ExecMainStatus}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("end of the unit (-want +got):\n%s", d)
	}
}

func wantGone(t *testing.T, u units, name string) {
	t.Helper()
	_, err := u.Get(testContext(t), name)
	wantError(t, "get", err, ErrNoSuchUnit)
	list, err := u.List(testContext(t), name)
	if err != nil || len(list) != 0 {
		t.Errorf("list is %v, %v; want none", list, err)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s did not come", what))
		}
	}
}
