package systemd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
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
	ResetFailed(ctx context.Context, name string) error
	Version(ctx context.Context) (int, error)
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
	kindReady = "ready" // says READY and STATUS=hello
	kindExit7 = "exit7" // exits with 7 before it is ready
	kindNever = "never" // is not ready in time
	kindSlow  = "slow"  // is ready after half a second
	kindExit3 = "exit3" // is ready, exits with 3 on SIGTERM
	kindDeaf  = "deaf"  // is ready, ignores SIGTERM
	kindDies  = "dies"  // is ready, exits with 5 after a while
)

const environment = `RECORD={"arguments":["--a=\"b\" c","$HOME","100%","back\\slash","line\nend","ü"]}`

// script is what a kind does on a real systemd. There is no semicolon in it, which
// systemd 252 would not keep over a reload.
func script(kind string) []Property {
	const (
		ready = "systemd-notify --ready --status=hello\n"
		loop  = "while sleep 0.05\ndo :\ndone"
	)
	shell := map[string]string{
		kindReady: ready + "exec sleep 600",
		kindExit7: "exit 7",
		kindNever: "exec sleep 600",
		kindSlow:  "sleep 0.5\n" + ready + "exec sleep 600",
		kindExit3: "trap 'exit 3' TERM\n" + ready + loop,
		kindDeaf:  "trap '' TERM\n" + ready + loop,
		kindDies:  ready + "sleep 0.5\nexit 5",
	}[kind]
	timeout := 20 * time.Second
	if kind == kindNever {
		timeout = 300 * time.Millisecond
	}
	return []Property{
		String("Description", kind),
		String("Type", "notify"),
		String("NotifyAccess", "all"),
		ExecStart([]string{"/bin/sh", "-c", shell}),
		Strings("Environment", environment),
		Duration("TimeoutStartUSec", timeout),
		Duration("TimeoutStopUSec", 20*time.Second),
		Duration("StartLimitIntervalUSec", 0),
	}
}

// scripted is a fake that plays the kinds.
func scripted() *Fake {
	f := &Fake{}
	var kinds sync.Map
	f.OnStart = func(name string, properties []Property) Outcome {
		kind, _ := properties[0].Value.Value().(string)
		kinds.Store(name, kind)
		o := ReadyAs("hello")
		switch kind {
		case kindExit7:
			return FailedWith(7)
		case kindNever:
			return TimedOut()
		case kindSlow:
			o.Delay = 100 * time.Millisecond
		case kindDies:
			time.AfterFunc(50*time.Millisecond, func() { f.Exit(name, 5) })
		}
		return o
	}
	f.OnStop = func(u Unit) Outcome {
		switch kind, _ := kinds.Load(u.Name); kind {
		case kindExit3:
			return FailedWith(3)
		case kindDeaf:
			return Outcome{Delay: time.Second}
		}
		return Outcome{}
	}
	return f
}

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
		"stop kills what does not end":                stopDeaf,
		"stop of a failed unit answers and forgets":   stopFailed,
		"stop cancels a start":                        stopStarting,
		"two stops answer the same":                   stopTwice,
		"nothing is no unit":                          noUnit,
		"list is sorted and filtered":                 listSorted,
		"list shows a unit that died":                 listDied,
		"a start after a stop finds the name free":    startAfterStop,
		"changes name the unit":                       changesNameUnit,
		"what is answered is the caller's to change":  answersAreCopies,
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
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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
	if d := cmp.Diff([]string{environment}, unit.Environment); d != "" {
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
	if d := cmp.Diff([]Unit{unit}, list); d != "" || err != nil {
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
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	_, err := u.Start(ctx, name, script(kindSlow))
	wantError(t, "start", err, context.DeadlineExceeded)
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

func stopDeaf(t *testing.T, u units, name string) {
	start(t, u, name, kindDeaf)
	begun := time.Now()
	stopped, err := u.Stop(testContext(t), name, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond || took > 5*time.Second {
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

func noUnit(t *testing.T, u units, name string) {
	wantGone(t, u, name)
	_, err := u.Stop(testContext(t), name, 0)
	wantError(t, "stop", err, ErrNoSuchUnit)
	wantError(t, "reset", u.ResetFailed(testContext(t), name), ErrNoSuchUnit)
	wantGone(t, u, name)
}

func listSorted(t *testing.T, u units, name string) {
	names := []string{"c-" + name, "a-" + name, "b-" + name, "a-x" + name}
	for _, n := range names {
		start(t, u, n, kindReady)
	}
	defer func() {
		for _, n := range names {
			if _, err := u.Stop(testContext(t), n, 0); err != nil {
				t.Error(err)
			}
		}
	}()
	list, err := u.List(testContext(t), "[a-c]-"+name)
	var got []string
	for _, unit := range list {
		got = append(got, unit.Name)
	}
	if d := cmp.Diff([]string{"a-" + name, "b-" + name, "c-" + name}, got); d != "" || err != nil {
		t.Errorf("list: %v (-want +got):\n%s", err, d)
	}
}

func listDied(t *testing.T, u units, name string) {
	start(t, u, name, kindDies)
	var unit Unit
	waitFor(t, "the death of the unit", func() bool {
		list, err := u.List(testContext(t), name)
		if err != nil || len(list) != 1 {
			t.Fatalf("list: %v, %v", list, err)
		}
		unit = list[0]
		return unit.ActiveState == "failed"
	})
	wantEnd(t, unit, end{"failed", "exit-code", cldExited, 5})
	if unit.MainPID != 0 {
		t.Errorf("process %d of a dead unit", unit.MainPID)
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

func changesNameUnit(t *testing.T, u units, name string) {
	changes := u.Changes()
	defer changes.Close()
	start(t, u, name, kindReady)
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
	defer cancel()
	for {
		names, _, err := changes.Next(ctx)
		if err != nil {
			t.Fatalf("no change of %s: %v", name, err)
		}
		for _, n := range names {
			if n == name {
				return
			}
		}
	}
}

func answersAreCopies(t *testing.T, u units, name string) {
	start(t, u, name, kindReady)
	for range 2 {
		list, err := u.List(testContext(t), name)
		if err != nil || len(list) != 1 || list[0].Environment[0] != environment {
			t.Fatalf("list: %v, %v", list, err)
		}
		list[0].Environment[0] = "scribble"
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

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s did not come", what))
		}
	}
}
