package systemd

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Outcome is the outcome of a job of the [Fake]. The zero value is success: a started unit
// runs and is ready, a stopped unit ended on SIGTERM.
type Outcome struct {
	// Delay is how long the job takes.
	Delay time.Duration
	// Job is its result; "" is "failed" if the unit failed, else "done".
	Job string
	// Change changes the unit after a successful job. It may be nil.
	Change func(u *Unit)
}

func (o Outcome) apply(u *Unit) {
	if o.Change != nil {
		o.Change(u)
	}
}

func (o Outcome) result(u Unit) string {
	switch {
	case o.Job != "":
		return o.Job
	case u.ActiveState == "failed":
		return "failed"
	}
	return jobDone
}

// ReadyAs is a successful start with this STATUS= of sd_notify(3).
func ReadyAs(status string) Outcome {
	return Outcome{Change: func(u *Unit) { u.StatusText = status }}
}

// FailedWith is a start or stop whose main process exits with this code.
func FailedWith(code int32) Outcome {
	return Outcome{Change: func(u *Unit) { exited(u, code) }}
}

// TimedOut is a start that does not become ready in time.
func TimedOut() Outcome {
	return Outcome{Change: func(u *Unit) {
		killedBy(u, 15)
		fail(u, "timeout")
	}}
}

// Codes of waitid(2).
const (
	cldExited = 1
	cldKilled = 2
)

// exited ends the main process of u with an exit code.
func exited(u *Unit, code int32) {
	ended(u, cldExited, code)
	if code != 0 {
		fail(u, "exit-code")
	}
}

// killedBy ends the main process of u with a signal.
func killedBy(u *Unit, signal int32) {
	ended(u, cldKilled, signal)
	if signal == 9 {
		fail(u, "signal")
	}
}

func ended(u *Unit, code, status int32) {
	u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success"
	u.MainPID, u.ControlGroup = 0, ""
	u.ExecMainCode, u.ExecMainStatus = code, status
	u.ExitedUSec = nowUSec()
}

func fail(u *Unit, result string) {
	u.ActiveState, u.SubState, u.Result = "failed", "failed", result
}

func running(u *Unit) {
	u.ActiveState, u.SubState = "active", "running"
	u.ReadyUSec = nowUSec()
}

func nowUSec() uint64 { return uint64(time.Now().UnixMicro()) }

// Stop is Conn.Stop.
func (f *Fake) Stop(ctx context.Context, name string, killAfter time.Duration) (Unit, error) {
	if err := f.before(ctx, "Stop", name); err != nil {
		return Unit{}, err
	}
	u, job, err := f.queueStop(name)
	if err != nil {
		return Unit{}, err
	}
	if killAfter > 0 {
		killed := Outcome{Job: jobDone, Change: func(u *Unit) { killedBy(u, 9) }}
		kill := time.AfterFunc(killAfter, func() { f.finish(u, job, killed, func(*Unit) {}) })
		defer kill.Stop()
	}
	answer, err := f.await(ctx, "Stop", name, job)
	if answer.ActiveState == "failed" {
		f.forget(u)
		f.changes.add(name)
	}
	return answer, err
}

// QueueStop is Conn.QueueStop.
func (f *Fake) QueueStop(ctx context.Context, name string) error {
	if err := f.before(ctx, "QueueStop", name); err != nil {
		return err
	}
	if _, _, err := f.queueStop(name); err != nil {
		return err
	}
	return f.after("QueueStop", name)
}

// queueStop begins the stop of a unit, unless it is stopping.
func (f *Fake) queueStop(name string) (*fakeUnit, *fakeJob, error) {
	f.mu.Lock()
	u := f.units[name]
	if u == nil {
		f.mu.Unlock()
		return nil, nil, fmt.Errorf("stop %s: %w", name, ErrNoSuchUnit)
	}
	job := u.job
	if u.ActiveState != "deactivating" {
		before := u.Unit
		job = f.beginStop(u)
		go f.runStop(u, job, before)
	}
	f.mu.Unlock()
	f.changes.add(name)
	return u, job, nil
}

// SetProperties is Conn.SetProperties. It only notes them for Properties.
func (f *Fake) SetProperties(ctx context.Context, name string, properties []Property) error {
	if err := f.before(ctx, "SetProperties", name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set == nil {
		f.set = map[string][]Property{}
	}
	f.set[name] = append(f.set[name], properties...)
	return nil
}

// Properties returns all that SetProperties has set of a unit, in order.
func (f *Fake) Properties(name string) []Property {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.set[name])
}

// beginStop replaces a start that is under way. f.mu must be held.
func (f *Fake) beginStop(u *fakeUnit) *fakeJob {
	if u.job != nil {
		f.endJob(u, "canceled")
	}
	u.job = f.newJob()
	u.JobID = u.job.id
	if u.ActiveState != "failed" {
		u.ActiveState, u.SubState = "deactivating", "stop-sigterm"
	}
	return u.job
}

// runStop ends a stop job. before is the unit before the job; a failed unit does not change, and
// one that waits for its restart has ended.
func (f *Fake) runStop(u *fakeUnit, job *fakeJob, before Unit) {
	if before.ActiveState == "failed" || before.WaitsForRestart() {
		f.finish(u, job, Outcome{Job: jobDone}, func(u *Unit) {
			if before.WaitsForRestart() {
				u.ActiveState, u.SubState = "inactive", "dead"
			}
		})
		return
	}
	o := Outcome{}
	if f.OnStop != nil {
		o = f.OnStop(before)
	}
	if o.Job == "" {
		o.Job = jobDone // the job of a stop is done even if the unit failed
	}
	time.Sleep(o.Delay)
	f.finish(u, job, o, func(u *Unit) { killedBy(u, 15) })
}

// forget removes a failed unit.
func (f *Fake) forget(u *fakeUnit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.units[u.Name] == u && u.ActiveState == "failed" && u.job == nil {
		delete(f.units, u.Name)
	}
}

// ResetFailed is Conn.ResetFailed.
func (f *Fake) ResetFailed(ctx context.Context, name string) error {
	if err := f.before(ctx, "ResetFailed", name); err != nil {
		return err
	}
	f.mu.Lock()
	u := f.units[name]
	f.mu.Unlock()
	if u == nil {
		return fmt.Errorf("reset %s: %w", name, ErrNoSuchUnit)
	}
	f.forget(u)
	f.changes.add(name)
	return f.after("ResetFailed", name)
}

// Changes is Conn.Changes.
func (f *Fake) Changes() *Changes { return f.changes.subscribe() }

// Close is Conn.Close. It does nothing.
func (f *Fake) Close() error { return nil }

// Update changes a unit, as when its process ends. It returns false if the unit does not
// exist. A unit that becomes inactive is forgotten.
func (f *Fake) Update(name string, change func(u *Unit)) bool {
	f.mu.Lock()
	u := f.units[name]
	if u != nil {
		change(&u.Unit)
		if u.gone() && u.job == nil {
			delete(f.units, name)
		}
	}
	f.mu.Unlock()
	f.changes.add(name)
	return u != nil
}

// Exit ends the main process of a unit with this code; false if the unit does not exist.
func (f *Fake) Exit(name string, code int32) bool {
	return f.Update(name, func(u *Unit) { exited(u, code) })
}

// Starts is how often a start of a unit of this name was tried.
func (f *Fake) Starts(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts[name]
}

func (f *Fake) before(ctx context.Context, operation, name string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if f.Before == nil {
		return nil
	}
	return f.Before(operation, name)
}

func (f *Fake) after(operation, name string) error {
	if f.After == nil {
		return nil
	}
	return f.After(operation, name)
}
