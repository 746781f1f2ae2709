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
// half-done stays. Only a Stop ends it: the error is ErrLaunchStopped then, and
// nothing is left.
func (c *Core) Launch(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
	j, about, err := c.decide(ctx, caller, actionLaunch, p)
	if err != nil {
		c.note(caller, "Launch", about, err)
		return interfaces.LaunchReply{}, err
	}
	var held held
	defer held.giveBack()
	running, err := c.takeTurn(ctx, j, patience(p), &held)
	c.noteLaunch(caller, about, running != nil, err)
	if err != nil {
		return interfaces.LaunchReply{}, err
	}
	if running != nil {
		return interfaces.LaunchReply{Sidecar: *running, StandIn: j.standIn(true)}, nil
	}
	sidecar, err := c.launchDetached(ctx, caller, j, held.handOver())
	if err != nil {
		return interfaces.LaunchReply{}, err
	}
	return interfaces.LaunchReply{Sidecar: sidecar, StandIn: j.standIn(false)}, nil
}

// patience is how long a launch may wait for its turn.
func patience(p interfaces.LaunchParameters) time.Duration {
	if p.TimeoutUSec != nil {
		return microseconds(*p.TimeoutUSec)
	}
	return maxTimeout
}

// takeTurn waits until the job may start. If it returns neither an error nor a
// sidecar that runs already, the job holds its sidecar's lock, a slot and its
// place below the agent's limit.
func (c *Core) takeTurn(ctx context.Context, j *job, patience time.Duration, held *held) (*interfaces.Sidecar, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx, unbind := j.interruption.bind(ctx)
	defer unbind()
	running, err := c.lockAndPrepare(ctx, j, held)
	switch {
	case err == nil && running == nil:
		return nil, nil
	case err != nil && j.interruption.happened():
		err = &interfaces.LaunchStoppedError{ID: j.id.String()}
	}
	held.giveBack()
	return running, waited(ctx, err)
}

func (c *Core) lockAndPrepare(ctx context.Context, j *job, held *held) (*interfaces.Sidecar, error) {
	unlock, err := c.locks.lockLaunch(ctx, j.id, j.interruption)
	if err != nil {
		return nil, err
	}
	held.add(unlock)
	return c.prepare(ctx, j, held)
}

// prepare looks at what is there, under the sidecar's lock.
func (c *Core) prepare(ctx context.Context, j *job, held *held) (*interfaces.Sidecar, error) {
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
	// done does nothing if no place was taken.
	held.add(func() { c.limits.done(j.id, j.begun) })
	if err := c.takePlace(ctx, j); err != nil {
		return nil, err
	}
	if err := c.starts.Acquire(ctx, j.id.Agent); err != nil {
		return nil, err
	}
	held.add(func() { c.starts.Release(j.id.Agent, 1) })
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

// outcome is what came of a launch.
type outcome struct {
	sidecar interfaces.Sidecar
	err     error
}

// launchDetached carries a job out, whether or not the caller stays to hear of it.
func (c *Core) launchDetached(ctx context.Context, caller Caller, j *job, held held) (interfaces.Sidecar, error) {
	result := make(chan outcome, 1)
	c.detached.Go(func() { result <- c.carryOut(context.WithoutCancel(ctx), caller, j, held) })
	select {
	case r := <-result:
		return r.sidecar, r.err
	case <-ctx.Done():
		return interfaces.Sidecar{}, ctx.Err()
	}
}

// carryOut runs the job, and reads and writes the journal after it has released its
// lock and slot.
func (c *Core) carryOut(ctx context.Context, caller Caller, j *job, held held) (o outcome) {
	defer c.caught("a launch", &o.err)
	o.sidecar, o.err = c.carryThrough(ctx, j, held)
	o.err = c.withOutput(ctx, j, o.err)
	c.noteOutcome(caller, j.about, o.err)
	return o
}

// carryThrough replaces or starts the unit, and gives back what the job holds. That
// comes before the answer: a caller that has the answer must not find the sidecar
// locked.
func (c *Core) carryThrough(ctx context.Context, j *job, held held) (s interfaces.Sidecar, err error) {
	defer c.caught("a launch", &err)
	defer held.giveBack()
	ctx, cancel := context.WithTimeout(ctx, j.timeout+stopTimeout+2*grace)
	defer cancel()
	// Even a start that systemd did not answer may have made a unit. A count that
	// is too high is put right by the next one, a lower one is not.
	j.begun = true
	s, err = c.replace(ctx, j)
	// Also if systemd has just answered that it is ready: the stop came before.
	if j.interruption.happened() {
		return interfaces.Sidecar{}, c.undo(ctx, j)
	}
	return s, err
}

// replace stops the old unit, if there is one, and starts the new one. A Stop of the
// sidecar ends it.
func (c *Core) replace(ctx context.Context, j *job) (interfaces.Sidecar, error) {
	ctx, unbind := j.interruption.bind(ctx)
	defer unbind()
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
