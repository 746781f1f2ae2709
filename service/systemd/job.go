package systemd

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how long a lost signal can hold up the wait for a job.
const pollInterval = time.Second

const (
	jobDone   = "done"
	jobFrozen = "frozen" // the unit is, by systemctl freeze
)

// awaitJob waits until a job of the watched unit has ended (0: any), and returns
// what the unit is then and the job's result, "" if that is lost. systemd's signal
// is a hint to look; the unit says whether the job is over.
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
			// systemd signals the end before it answers that there is no
			// job, so if the result is not here by now, it is lost.
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

// jobError judges by the job's result.
func jobError(u Unit, result string) error {
	if result == jobDone {
		return nil
	}
	return &JobError{Unit: u.Name, Result: result}
}

// guessStart says how a start job ended whose result is lost, by what the unit is.
func guessStart(u Unit) string {
	switch {
	case u.JobID != 0: // another job took the place of this one
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
