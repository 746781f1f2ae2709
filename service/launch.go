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

// Launch starts a sidecar and returns it when it is ready, with what a stand-in
// needs to know if the agent has stand-ins.
//
// A caller that hangs up (ctx ends) while its launch waits for its turn is
// forgotten; so is one that waits longer than its caller gave it, and nothing is
// touched. Once the start has begun it is carried through, so that nothing
// half-done stays.
func (c *Core) Launch(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
	j, about, err := c.decide(ctx, caller, actionLaunch, p)
	if err != nil {
		c.note(caller, "Launch", about, err)
		return interfaces.LaunchReply{}, err
	}
	limit := maxTimeout
	if p.TimeoutUSec != nil {
		limit = microseconds(*p.TimeoutUSec)
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	running, err := c.takeTurn(waiting, j)
	err = waited(waiting, err)
	c.noteLaunch(caller, about, running != nil, err)
	if err != nil {
		return interfaces.LaunchReply{}, err
	}
	if running != nil {
		return interfaces.LaunchReply{Sidecar: *running, StandIn: j.standIn(true)}, nil
	}
	sidecar, err := c.launchDetached(ctx, caller, j)
	if err != nil {
		return interfaces.LaunchReply{}, err
	}
	return interfaces.LaunchReply{Sidecar: sidecar, StandIn: j.standIn(false)}, nil
}

// takeTurn waits until the job may start. If it returns neither an error nor a
// sidecar that runs already, the job holds its sidecar's lock, a slot and its
// place below the agent's limit.
func (c *Core) takeTurn(ctx context.Context, j *job) (*interfaces.Sidecar, error) {
	if err := c.locks.lock(ctx, j.id); err != nil {
		return nil, err
	}
	running, err := c.prepare(ctx, j)
	if err != nil || running != nil {
		c.locks.unlock(j.id)
	}
	return running, err
}

// prepare looks at what is there, under the sidecar's lock.
func (c *Core) prepare(ctx context.Context, j *job) (*interfaces.Sidecar, error) {
	old, err := c.settled(ctx, j)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if running, err := c.leave(j, *old); err != nil || running != nil {
			return running, err
		}
		if err := c.sameAsTold(j.about, *old); err != nil {
			return nil, err
		}
	}
	j.old = old != nil
	if err := c.takePlace(ctx, j); err != nil {
		return nil, err
	}
	if err := c.starts.acquire(ctx, j.id.Agent); err != nil {
		c.limits.done(j.id, false)
		return nil, err
	}
	return nil, nil
}

// takePlace takes the job's place below its agent's limit. That of the unit which
// it replaces will do, if that one is there still when the place is held.
func (c *Core) takePlace(ctx context.Context, j *job) error {
	if !j.old {
		return c.admit(ctx, j)
	}
	c.limits.hold(j.id)
	_, err := c.Units.Get(ctx, j.id.Unit())
	if err == nil {
		return nil
	}
	c.limits.done(j.id, false)
	if !errors.Is(err, systemd.ErrNoSuchUnit) {
		return hostFailure(ctx, "read the unit", err)
	}
	j.old = false
	return c.admit(ctx, j)
}

// launchDetached carries a job out, whether or not the caller stays to hear of it.
func (c *Core) launchDetached(ctx context.Context, caller Caller, j *job) (interfaces.Sidecar, error) {
	type outcome struct {
		sidecar interfaces.Sidecar
		err     error
	}
	result := make(chan outcome, 1)
	c.detached.Go(func() {
		sidecar, err := c.carryOut(context.WithoutCancel(ctx), caller, j)
		result <- outcome{sidecar, err}
	})
	select {
	case r := <-result:
		return r.sidecar, r.err
	case <-ctx.Done():
		return interfaces.Sidecar{}, ctx.Err()
	}
}

// carryOut does what the job says and gives back what it held. That comes before
// the answer: who has the answer must not find the sidecar still locked.
func (c *Core) carryOut(ctx context.Context, caller Caller, j *job) (interfaces.Sidecar, error) {
	defer c.locks.unlock(j.id)
	defer c.starts.release(j.id.Agent)
	ctx, cancel := context.WithTimeout(ctx, j.timeout+stopTimeout+2*grace)
	defer cancel()
	sidecar, err := c.replace(ctx, j)
	// Even a start that systemd did not answer may have made a unit. A count that
	// is too high is put right by the next one, a lower one is not.
	c.limits.done(j.id, true)
	c.noteOutcome(caller, j.about, err)
	return sidecar, err
}

// replace stops the old unit, if there is one, and starts the new one.
func (c *Core) replace(ctx context.Context, j *job) (interfaces.Sidecar, error) {
	if j.old {
		if _, err := c.stopUnit(ctx, j.id, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return interfaces.Sidecar{}, hostFailure(ctx, "stop the old unit", err)
		}
	}
	unit, err := c.start(ctx, j)
	if err != nil {
		return interfaces.Sidecar{}, err
	}
	return c.sidecar(unit), nil
}

// waited is the error of a call that has touched nothing yet, if its time ended while
// it waited for its turn.
func waited(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &interfaces.OverloadedError{Reason: "the call waited for its turn until its time was over; nothing was touched"}
	}
	return err
}

// hostFailure is the error of something that the host could not do. If the caller has
// gone, it is not the host's fault.
func hostFailure(ctx context.Context, what string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", &interfaces.HostFailureError{Reason: what + ": " + err.Error()}, err)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
