package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/retry"
)

// auxiliary is (sa(sv)), another unit to create with the transient one.
type auxiliary struct {
	Name       string
	Properties []Property
}

// maxAttempts bounds how often a start is tried if systemd loses the unit.
const maxAttempts = 5

// Start starts a transient service with job mode "fail", waits for its start job and
// returns the unit as systemd then has it.
//
// A failed start returns the unit and a *JobError. A unit that ended without failure, and
// that systemd has already forgotten, has the LoadState "not-found". Other errors:
// ErrUnitExists if a running or failed unit has the name; ErrDisconnected if it is unknown
// whether the unit was started; ctx's, and then the start goes on without the caller.
func (c *Conn) Start(ctx context.Context, name string, properties []Property) (Unit, error) {
	w := c.watches.add(name)
	defer w.close()
	for attempt := 1; ; attempt++ {
		u, result, err := c.startAndWait(ctx, w, properties)
		if !errors.Is(err, errLost) || attempt == maxAttempts {
			if err == nil {
				err = jobError(u, result)
			}
			return u, err
		}
		c.config.Logger.Warn("systemd lost a unit before it was started", "unit", name)
	}
}

// startAndWait returns errLost if systemd lost the unit before it ran: systemd 252 does so
// to units whose job waits when it re-executes itself, and says that the job failed. A unit
// that ran and failed would still be there.
func (c *Conn) startAndWait(ctx context.Context, w *watch, properties []Property) (Unit, string, error) {
	restarts := c.restarts.Load()
	job, err := c.startOnce(ctx, w.unit, properties)
	if err != nil {
		return Unit{}, "", fmt.Errorf("start %s: %w", w.unit, err)
	}
	u, result, err := c.awaitJob(ctx, w, job)
	if err == nil && u.LoadState == "not-found" && c.restarts.Load() != restarts {
		switch result {
		case "failed":
			err = fmt.Errorf("start %s: %w", w.unit, errLost)
		case "": // it may have run
			err = fmt.Errorf("start %s: %w: systemd has no unit and lost the job's result", w.unit, ErrDisconnected)
		}
	}
	if result == "" {
		result = guessStart(u)
	}
	return u, result, err
}

// startOnce returns the number of the start job. It repeats the call only if systemd is
// known not to have carried it out.
func (c *Conn) startOnce(ctx context.Context, name string, properties []Property) (uint32, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	begun := time.Now()
	var job uint32
	var err error
	retry.Do(limited, minRetry, maxRetry, func() bool {
		job, err = c.startTransient(ctx, name, properties)
		if errors.Is(err, errNoReply) {
			job, err = c.startedSince(ctx, name, begun, err)
		}
		return errors.Is(err, errNotSent)
	})
	return job, err
}

func (c *Conn) startTransient(ctx context.Context, name string, properties []Property) (uint32, error) {
	if properties == nil {
		properties = []Property{}
	}
	body, err := c.call(ctx, managerPath, managerMethod+"StartTransientUnit",
		name, "fail", properties, []auxiliary{})
	c.cache.touch(unitPath(name))
	if errors.Is(err, ErrNoSuchUnit) { // systemd cannot load the file that it could not write
		return 0, fmt.Errorf("%s: systemd could not write the unit's file: is /run full? See 'df /run' and 'df -i /run'", name)
	}
	if err != nil {
		return 0, err
	}
	return jobReply(body)
}

// startedSince finds the job of a start whose reply was lost because systemd re-executed
// itself. It returns errNotSent if the unit was not started: the new systemd knows whatever
// the old one did, and never gets the old one's messages. A unit that was started before
// begun is somebody else's. If the clock was set back meanwhile, our own unit looks like
// that, which is safe.
func (c *Conn) startedSince(ctx context.Context, name string, begun time.Time, lost error) (uint32, error) {
	u, err := c.read(ctx, name)
	switch {
	case err != nil:
		return 0, lost
	case u.gone():
		return 0, errNotSent
	case u.StartedUSec != 0 && u.StartedUSec < uint64(begun.UnixMicro()):
		return 0, ErrUnitExists
	}
	return u.JobID, nil
}

// Trigger starts an installed unit without waiting for it.
func (c *Conn) Trigger(ctx context.Context, name string) error {
	if _, err := c.retry(ctx, managerPath, managerMethod+"StartUnit", name, "replace"); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

func jobReply(body []any) (uint32, error) {
	var job dbus.ObjectPath
	if err := dbus.Store(body, &job); err != nil {
		return 0, fmt.Errorf("read the job: %w", err)
	}
	return jobID(job)
}
