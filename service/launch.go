package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// stopTimeout is how long a process gets to end before systemd kills it.
	// Neutron waits 5 s between its own TERM and KILL.
	stopTimeout = 5 * time.Second
	// restartDelay is how long systemd waits before a restart, for profiles that
	// ask for restarts.
	restartDelay = time.Second
	// grace is what systemd may need around a start or a stop.
	grace = 30 * time.Second
)

// Launch starts a sidecar and returns it when it is ready.
//
// A caller that hangs up (ctx ends) while its launch waits for its turn is
// forgotten. Once the start has begun it is carried through, so that nothing
// half-done stays.
func (c *Core) Launch(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.Sidecar, error) {
	j, err := c.decide(ctx, caller, p)
	if err != nil {
		c.note(caller, "Launch", interfaces.ID{Agent: caller.Agent, Profile: p.Profile}, err)
		return interfaces.Sidecar{}, err
	}
	limit := maxTimeout
	if p.TimeoutUSec != nil {
		limit = time.Duration(*p.TimeoutUSec) * time.Microsecond
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	sidecar, err := c.launch(waiting, j)
	c.note(caller, "Launch", j.id, err)
	return sidecar, err
}

// launch takes the turn of the sidecar, looks at what is there, and starts.
func (c *Core) launch(ctx context.Context, j *job) (interfaces.Sidecar, error) {
	unlock, err := c.locks.lock(ctx, j.id)
	if err != nil {
		return interfaces.Sidecar{}, waitedTooLong(err)
	}
	old, err := c.existing(ctx, j.id)
	if err != nil {
		unlock()
		return interfaces.Sidecar{}, err
	}
	if old != nil && old.ActiveState != "failed" && j.mode != interfaces.ModeReplace {
		unlock()
		return c.keep(j, *old)
	}
	if err := c.reserve(ctx, j, old); err != nil {
		unlock()
		return interfaces.Sidecar{}, err
	}
	return c.replaceDetached(ctx, j, old, unlock)
}

// reserve makes sure that the agent may have one more, and waits for a start.
func (c *Core) reserve(ctx context.Context, j *job, old *systemd.Unit) error {
	if old == nil {
		if err := c.admit(ctx, j); err != nil {
			return err
		}
	}
	if err := c.starts.acquire(ctx, j.id.Agent); err != nil {
		c.limits.done(j.id)
		return waitedTooLong(err)
	}
	return nil
}

// replaceDetached stops the old unit and starts the new one, whether or not the
// caller stays to hear of it.
func (c *Core) replaceDetached(ctx context.Context, j *job, old *systemd.Unit, unlock func()) (interfaces.Sidecar, error) {
	type outcome struct {
		sidecar interfaces.Sidecar
		err     error
	}
	if deadline, ok := ctx.Deadline(); ok {
		j.timeout = min(j.timeout, time.Until(deadline))
	}
	result := make(chan outcome, 1)
	go func() {
		defer unlock()
		defer c.starts.release()
		defer c.limits.done(j.id)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.timeout+stopTimeout+2*grace)
		defer cancel()
		sidecar, err := c.replace(ctx, j, old)
		result <- outcome{sidecar, err}
	}()
	select {
	case r := <-result:
		return r.sidecar, r.err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return interfaces.Sidecar{}, ctx.Err()
	}
	// The unit's own deadline is the caller's: its answer is about to come, and
	// says more.
	r := <-result
	return r.sidecar, r.err
}

func (c *Core) replace(ctx context.Context, j *job, old *systemd.Unit) (interfaces.Sidecar, error) {
	if old != nil {
		if _, err := c.Units.Stop(ctx, j.id.Unit(), 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return interfaces.Sidecar{}, hostFailure("stop the old unit", err)
		}
	}
	properties, err := c.properties(j)
	if err != nil {
		return interfaces.Sidecar{}, hostFailure("build the unit", err)
	}
	unit, err := c.start(ctx, j, properties)
	if err != nil {
		return interfaces.Sidecar{}, err
	}
	return c.sidecar(unit), nil
}

// keep answers a launch that must not touch what runs.
func (c *Core) keep(j *job, old systemd.Unit) (interfaces.Sidecar, error) {
	if j.mode == interfaces.ModeKeep && sameLaunch(old, j.context) {
		return c.sidecar(old), nil
	}
	return interfaces.Sidecar{}, &interfaces.SidecarExistsError{ID: j.id.String()}
}

// existing returns the sidecar's unit, or nil.
func (c *Core) existing(ctx context.Context, id interfaces.ID) (*systemd.Unit, error) {
	unit, err := c.Units.Get(ctx, id.Unit())
	switch {
	case errors.Is(err, systemd.ErrNoSuchUnit):
		return nil, nil
	case err != nil:
		return nil, hostFailure("read the unit", err)
	}
	return &unit, nil
}

func waitedTooLong(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &interfaces.OverloadedError{Reason: "the launch waited for its turn until its time was over; nothing was started"}
	}
	return err
}

func hostFailure(what string, err error) error {
	return fmt.Errorf("%w: %w", &interfaces.HostFailureError{Reason: what + ": " + err.Error()}, err)
}
