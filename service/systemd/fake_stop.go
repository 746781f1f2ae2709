package systemd

import (
	"context"
	"fmt"
	"time"
)

// Stop is Conn.Stop.
func (f *Fake) Stop(ctx context.Context, name string, killAfter time.Duration) (Unit, error) {
	if err := f.before(ctx, "Stop", name); err != nil {
		return Unit{}, err
	}
	f.mu.Lock()
	u := f.units[name]
	if u == nil {
		f.mu.Unlock()
		return Unit{}, fmt.Errorf("stop %s: %w", name, ErrNoSuchUnit)
	}
	job := u.job
	if u.ActiveState != "deactivating" {
		job = f.beginStop(u)
		go f.runStop(u, job, u.Unit)
	}
	f.mu.Unlock()
	f.changes.add(name)
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

// runStop ends a stop job. before is the unit as it was at its begin; a failed
// unit stays what it is.
func (f *Fake) runStop(u *fakeUnit, job *fakeJob, before Unit) {
	if before.ActiveState == "failed" {
		f.finish(u, job, Outcome{Job: jobDone}, func(*Unit) {})
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

// forget drops a failed unit.
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

// Version is Conn.Version.
func (f *Fake) Version(ctx context.Context) (int, error) {
	if err := f.before(ctx, "Version", ""); err != nil {
		return 0, err
	}
	if f.SystemdVersion != 0 {
		return f.SystemdVersion, nil
	}
	return 257, nil
}

// Changes is Conn.Changes.
func (f *Fake) Changes() *Changes { return f.changes.subscribe() }

// Close is Conn.Close; the fake has nothing to close.
func (f *Fake) Close() error { return nil }

// Update changes a unit from outside, as when its process ends; false if there is
// none. One that becomes inactive is forgotten.
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

// Exit ends the main process of a unit with this code; false if there is none.
func (f *Fake) Exit(name string, code int32) bool {
	return f.Update(name, func(u *Unit) { exited(u, code) })
}

// Starts is how often a unit of this name was started, in vain or not.
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
