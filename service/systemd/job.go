package systemd

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// pollInterval is how long a lost signal can delay the end of a wait for a job.
const pollInterval = time.Second

const (
	jobDone   = "done"
	jobFrozen = "frozen" // refused, because the unit is frozen (systemctl freeze)
)

// maxResults bounds the results that a watch keeps.
const maxResults = 64

// watches are the callers that wait for jobs. The zero value is ready.
type watches struct {
	mu  sync.Mutex
	all map[*watch]struct{}
}

// watch collects the results of one unit's jobs. It begins before a job is asked for,
// because systemd's signal can come before the reply with the job's number.
type watch struct {
	owner   *watches
	unit    string
	wake    chan struct{}     // has an element after a change
	results map[uint32]string // by job; guarded by owner.mu
}

func (w *watches) add(unit string) *watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	added := &watch{owner: w, unit: unit, wake: make(chan struct{}, 1), results: map[uint32]string{}}
	if w.all == nil {
		w.all = map[*watch]struct{}{}
	}
	w.all[added] = struct{}{}
	return added
}

// ended notes the result of a job.
func (w *watches) ended(unit string, job uint32, result string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.all {
		if watch.unit != unit {
			continue
		}
		if len(watch.results) < maxResults {
			watch.results[job] = result
		}
		wake(watch.wake)
	}
}

// wakeAll makes all callers read their units: signals may have been lost.
func (w *watches) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.all {
		wake(watch.wake)
	}
}

// result returns "" while no signal told how the job ended.
func (w *watch) result(job uint32) string {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	return w.results[job]
}

func (w *watch) close() {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	delete(w.owner.all, w)
}

// awaitJob waits until a job of the watched unit has ended (0: any), and returns the unit
// and the job's result, "" if the result is lost. systemd's signal is a hint to read the
// unit; the unit tells whether the job has ended.
func (c *Conn) awaitJob(ctx context.Context, w *watch, job uint32) (Unit, string, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.JobTimeout)
	defer cancel()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		select {
		case <-w.wake:
		case <-poll.C:
		case <-limited.Done():
			return Unit{}, "", c.jobTimeout(ctx, w.unit)
		}
		u, err := c.read(limited, w.unit)
		switch {
		case limited.Err() != nil:
			return Unit{}, "", c.jobTimeout(ctx, w.unit)
		case err != nil:
			return Unit{}, "", err
		case u.JobID == 0 || u.JobID != job:
			// systemd signals the end before it answers without a job, so a
			// result that is not here by now is lost.
			return u, w.result(job), nil
		}
	}
}

func (c *Conn) jobTimeout(ctx context.Context, unit string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the job of %s: %w", unit, ctx.Err())
	}
	return fmt.Errorf("wait for the job of %s: %w within %s", unit, context.DeadlineExceeded, c.config.JobTimeout)
}

// jobError is a *JobError, or nil for a job that is done.
func jobError(u Unit, result string) error {
	if result == jobDone {
		return nil
	}
	return &JobError{Unit: u.Name, Result: result}
}

// guessStart derives the lost result of a start job from the unit.
func guessStart(u Unit) string {
	switch {
	case u.JobID != 0: // another job has replaced this one
		return "canceled"
	case u.ActiveState == "failed", u.SubState == "auto-restart":
		return "failed"
	case u.Result != "" && u.Result != "success":
		return "failed"
	}
	return jobDone
}

// guessStop is guessStart for a stop job.
func guessStop(u Unit) string {
	if u.JobID == 0 && (u.ActiveState == "inactive" || u.ActiveState == "failed") {
		return jobDone
	}
	return "canceled"
}
