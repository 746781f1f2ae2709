package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// auxiliary is (sa(sv)), a further unit to create with the transient one.
type auxiliary struct {
	Name       string
	Properties []Property
}

// maxAttempts bounds how often a start is repeated that systemd lost.
const maxAttempts = 5

// Start starts a transient service with these properties, waits for its start job
// and returns what systemd then says of the unit. Job mode is "fail".
//
// A start that failed gives the unit and a *JobError; a unit that systemd has
// forgotten already (it ended without failure) has the LoadState "not-found".
// Other errors: ErrUnitExists, if the name is taken by a running or a failed unit;
// ErrDisconnected, if it is unknown whether the unit was started; ctx's, and then
// the start goes on without the caller.
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

// startAndWait returns errLost if systemd, executing itself anew, has lost the
// unit before it ran: systemd 252 does that to units whose job still waits, and
// says that the job failed. A unit that ran and failed would still be there.
func (c *Conn) startAndWait(ctx context.Context, w *watch, properties []Property) (Unit, string, error) {
	comings := c.comings.Load()
	job, err := c.startOnce(ctx, w.unit, properties)
	if err != nil {
		return Unit{}, "", fmt.Errorf("start %s: %w", w.unit, err)
	}
	u, result, err := c.awaitJob(ctx, w, job)
	if err == nil && u.LoadState == "not-found" && c.comings.Load() != comings {
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

// startOnce returns the number of the start job. It asks again only when it is
// sure that systemd did not do it.
func (c *Conn) startOnce(ctx context.Context, name string, properties []Property) (uint32, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	version, err := c.Version(limited)
	if err != nil {
		return 0, c.outOfTime(ctx, limited, "Version", err)
	}
	properties = inDialect(version, properties)
	begun := time.Now()
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		job, err := c.startTransient(ctx, name, properties)
		if errors.Is(err, errNoReply) {
			job, err = c.startedSince(ctx, name, begun, err)
		}
		if !errors.Is(err, errNotSent) || pause(limited, wait) != nil {
			return job, err
		}
	}
}

func (c *Conn) startTransient(ctx context.Context, name string, properties []Property) (uint32, error) {
	if properties == nil {
		properties = []Property{}
	}
	body, err := c.call(ctx, managerPath, managerMethod+"StartTransientUnit",
		name, "fail", properties, []auxiliary{})
	c.cache.touch(unitPath(name))
	if errors.Is(err, ErrNoSuchUnit) { // systemd looks for the file that it could not write
		return 0, fmt.Errorf("%s: systemd could not write the unit's file: is /run full? See 'df /run' and 'df -i /run'", name)
	}
	if err != nil {
		return 0, err
	}
	return jobReply(body)
}

// startedSince finds out whether a start took place whose reply was lost because
// systemd executed itself anew. errNotSent says that it did not: whatever the old
// systemd had done, the new one knows, and it never gets the old one's mail. A
// unit that was started before is another's. The clock is the same for both; if it
// was set back meanwhile, our own unit looks like another's, which is safe.
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

// Trigger has systemd start a unit that is installed, and does not wait for it.
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
