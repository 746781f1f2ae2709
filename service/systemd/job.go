package systemd

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how long a lost signal can hold up the wait for a job.
const pollInterval = time.Second

const jobDone = "done"

// awaitJob waits until a job of the watched unit has ended (0: any), and returns what the
// unit is then, with a *JobError if the job ended otherwise than by being done.
// systemd's signal is a hint to look; the unit says whether the job is over.
func (c *Conn) awaitJob(ctx context.Context, w *watch, job uint32) (Unit, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.JobTimeout)
	defer cancel()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		select {
		case <-w.wake:
		case <-poll.C:
		case <-limited.Done():
			return Unit{}, c.jobTimeout(ctx, w.unit)
		}
		u, err := c.read(limited, w.unit)
		switch {
		case limited.Err() != nil:
			return Unit{}, c.jobTimeout(ctx, w.unit)
		case err != nil:
			return Unit{}, err
		case u.JobID == 0 || u.JobID != job:
			// systemd signals the end before it answers that there is no
			// job, so if the result is not here by now, it is lost.
			return u, jobError(u, w.result(job))
		}
	}
}

func (c *Conn) jobTimeout(ctx context.Context, unit string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the job of %s: %w", unit, ctx.Err())
	}
	return fmt.Errorf("wait for the job of %s: %w within %s", unit, context.DeadlineExceeded, c.config.JobTimeout)
}

// jobError judges by the job's result, or by the unit if that is not known.
func jobError(u Unit, result string) error {
	if result == "" {
		result = guessResult(u)
	}
	if result == jobDone {
		return nil
	}
	return &JobError{Unit: u.Name, Result: result}
}

// guessResult serves when the signal was lost. A unit that systemd has forgotten
// has ended without failure.
func guessResult(u Unit) string {
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
