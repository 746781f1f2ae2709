package systemd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fake is a systemd in memory, with the methods of [Conn]; one table of tests holds both to
// the same behaviour. The zero value has no units. The functions may be nil, are called
// without a lock and may block; set them before the first call.
type Fake struct {
	// OnStart returns the outcome of a start. It runs while the unit is starting.
	OnStart func(name string, properties []Property) Outcome
	// OnStop returns the outcome of a stop. It runs while the unit is stopping.
	OnStop func(u Unit) Outcome
	// Before is called before an operation ("Start", "Stop", "QueueStop", "Get", "List",
	// "ResetFailed", "SetProperties", "Trigger"), and an error of it replaces the operation. name is the
	// unit's, or List's pattern.
	Before func(operation, name string) error
	// After is called after a successful operation, and an error of it replaces the
	// answer, as when the answer is lost.
	After func(operation, name string) error
	// Digest is Config.Digest.
	Digest func(environment []string) any

	changes changes

	mu      sync.Mutex
	units   map[string]*fakeUnit
	starts  map[string]int
	set     map[string][]Property
	counter uint32 // of jobs and processes
}

type fakeUnit struct {
	Unit
	job *fakeJob // under way, or nil
}

// fakeJob is a job. unit and result are set when done is closed.
type fakeJob struct {
	id     uint32
	done   chan struct{}
	unit   Unit
	result string
}

// Start is Conn.Start.
func (f *Fake) Start(ctx context.Context, name string, properties []Property) (Unit, error) {
	if err := f.before(ctx, "Start", name); err != nil {
		return Unit{}, err
	}
	f.mu.Lock()
	if f.units[name] != nil {
		f.mu.Unlock()
		return Unit{}, fmt.Errorf("start %s: %w", name, ErrUnitExists)
	}
	u, job := f.create(name, properties)
	f.mu.Unlock()
	f.changes.add(name)
	go func() {
		var o Outcome
		if f.OnStart != nil {
			o = f.OnStart(name, slices.Clone(properties))
		}
		time.Sleep(o.Delay)
		f.finish(u, job, o, running)
	}()
	return f.await(ctx, "Start", name, job)
}

// Trigger is Conn.Trigger. It only counts in Starts.
func (f *Fake) Trigger(ctx context.Context, name string) error {
	if err := f.before(ctx, "Trigger", name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countStart(name)
	return nil
}

func (f *Fake) countStart(name string) {
	if f.starts == nil {
		f.starts = map[string]int{}
	}
	f.starts[name]++
}

// create makes the unit of a start. f.mu must be held.
func (f *Fake) create(name string, properties []Property) (*fakeUnit, *fakeJob) {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails: crypto/rand
	job := f.newJob()
	f.counter++
	u := &fakeUnit{job: job, Unit: Unit{
		Name: name, LoadState: "loaded", ActiveState: "activating", SubState: "start", Result: "success",
		InvocationID: hex.EncodeToString(id), MainPID: 1000 + f.counter, JobID: job.id, StartedUSec: nowUSec(),
	}}
	slice := "system.slice"
	for _, p := range properties {
		switch v := p.Value.Value().(type) {
		case []string:
			if p.Name == "Environment" {
				u.Digest = f.digest(v)
			}
		case string:
			switch p.Name {
			case "Slice":
				slice = v
			case "Restart":
				u.Restarts = v != "no"
			}
		}
	}
	u.ControlGroup = "/" + slice + "/" + name
	if f.units == nil {
		f.units = map[string]*fakeUnit{}
	}
	f.units[name] = u
	f.countStart(name)
	return u, job
}

func (f *Fake) digest(environment []string) any {
	if f.Digest == nil {
		return nil
	}
	return f.Digest(environment)
}

func (f *Fake) newJob() *fakeJob {
	f.counter++
	return &fakeJob{id: f.counter, done: make(chan struct{})}
}

// finish ends a job, unless another job has replaced it.
func (f *Fake) finish(u *fakeUnit, job *fakeJob, o Outcome, success func(*Unit)) {
	f.mu.Lock()
	if u.job == job {
		success(&u.Unit)
		o.apply(&u.Unit)
		f.endJob(u, o.result(u.Unit))
	}
	f.mu.Unlock()
	f.changes.add(u.Name)
}

// endJob must be called with f.mu held. A unit that is gone is forgotten.
func (f *Fake) endJob(u *fakeUnit, result string) {
	u.JobID = 0
	u.job.unit, u.job.result = u.Unit, result
	close(u.job.done)
	u.job = nil
	if u.gone() && f.units[u.Name] == u {
		delete(f.units, u.Name)
	}
}

// await waits for a job and returns its outcome.
func (f *Fake) await(ctx context.Context, operation, name string, job *fakeJob) (Unit, error) {
	select {
	case <-job.done:
	case <-ctx.Done():
		return Unit{}, fmt.Errorf("wait for the job of %s: %w", name, ctx.Err())
	}
	if err := f.after(operation, name); err != nil {
		return Unit{}, err
	}
	u := job.unit
	if job.result != jobDone {
		return u, &JobError{Unit: name, Result: job.result}
	}
	return u, nil
}

// Get is Conn.Get.
func (f *Fake) Get(ctx context.Context, name string) (Unit, error) {
	if err := f.before(ctx, "Get", name); err != nil {
		return Unit{}, err
	}
	f.mu.Lock()
	u := f.units[name]
	if u == nil {
		f.mu.Unlock()
		f.changes.add(name) // systemd has loaded the unit, and announces that it removes it
		return Unit{}, fmt.Errorf("%s: %w", name, ErrNoSuchUnit)
	}
	answer := u.Unit
	f.mu.Unlock()
	return answer, f.after("Get", name)
}

// List is Conn.List.
func (f *Fake) List(ctx context.Context, pattern string) ([]Unit, error) {
	if err := f.before(ctx, "List", pattern); err != nil {
		return nil, err
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("list units %s: %w", pattern, err)
	}
	f.mu.Lock()
	units := make([]Unit, 0, len(f.units))
	for name, u := range f.units {
		if ok, _ := path.Match(pattern, name); ok {
			units = append(units, u.listed())
		}
	}
	f.mu.Unlock()
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	return units, f.after("List", pattern)
}
