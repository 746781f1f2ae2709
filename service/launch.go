package service

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// stopTimeout is how long a process gets to exit before systemd kills it.
	// Neutron waits 5 s between its own TERM and KILL.
	stopTimeout = 5 * time.Second
	// grace is what systemd may need around a start or a stop.
	grace = 30 * time.Second
	// settlePoll is how often a unit is read that is waited for.
	settlePoll = 100 * time.Millisecond
)

// Launch starts a sidecar and returns it when it is ready, with the facts that a stand-in
// needs if the agent has stand-ins.
//
// If the caller leaves (ctx ends) or waits longer than its time-out while the launch waits
// for its turn, nothing is touched. A start that has begun is completed even if the caller
// leaves. Only a Stop ends it: then the error is ErrLaunchStopped, and nothing is left.
func (c *Core) Launch(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
	return c.launch(ctx, newCall(caller, "Launch", actionLaunch, p.Agent, p.Profile, p.AllowInteractiveAuthentication), p)
}

func (c *Core) launch(ctx context.Context, call *call, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
	a, err := c.decide(ctx, call, p)
	if err != nil {
		c.record(call, err)
		return interfaces.LaunchReply{}, err
	}
	detached := false
	defer func() {
		if !detached {
			a.release()
		}
	}()
	sidecar, err := c.takeTurn(ctx, a, duration(p.TimeoutUSec, maxTimeout))
	call.Kept = sidecar != nil
	c.record(call, err)
	if err == nil && sidecar == nil {
		detached = true
		sidecar, err = c.startDetached(ctx, a)
	}
	if err != nil {
		return interfaces.LaunchReply{}, err
	}
	return interfaces.LaunchReply{Sidecar: *sidecar, StandIn: a.standIn(call.Kept)}, nil
}

// takeTurn waits until the launch may start, at most for patience. If it returns neither an
// error nor a sidecar that runs already, the launch holds the sidecar's lock, its place below
// the agent's limit and a slot.
func (c *Core) takeTurn(ctx context.Context, a *attempt, patience time.Duration) (*interfaces.Sidecar, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx, unbind := a.interruption.bind(ctx)
	defer unbind()
	running, err := c.line(ctx, a)
	if err == nil && running == nil {
		return nil, nil
	}
	a.release()
	if err != nil && a.interruption.happened() {
		err = &interfaces.LaunchStoppedError{ID: a.id.String()}
	}
	return running, waited(ctx, err)
}

// line takes the lock, reads the sidecar's unit, waits for the image, and takes the place and the slot.
func (c *Core) line(ctx context.Context, a *attempt) (*interfaces.Sidecar, error) {
	unlock, err := c.locks.lockLaunch(ctx, a.id, a.interruption)
	if err != nil {
		return nil, err
	}
	a.hold(unlock)
	if a.call.restores && !c.recorded.waits(a.id) {
		return nil, &interfaces.LaunchStoppedError{ID: a.id.String()} // somebody was first
	}
	old, err := c.existingUnit(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.replaces != nil && (old == nil || old.InvocationID != *a.replaces) {
		return nil, noSuchSidecar(a.id) // somebody has launched or stopped it meanwhile
	}
	if old != nil {
		if running, err := c.answerFrom(*old, a); err != nil || running != nil {
			return running, err
		}
		if err := c.checkNamespace(a.call, *old); err != nil {
			return nil, err
		}
	}
	if err := c.limitAgent(ctx, a.id.Agent); err != nil {
		return nil, err
	}
	if err := c.prepareImage(ctx, a); err != nil {
		return nil, err
	}
	a.old = old != nil
	a.hold(func() { c.limits.done(a.id, a.begun) }) // does nothing if no place was taken
	if err := c.takePlace(ctx, a); err != nil {
		return nil, err
	}
	c.keepRecord(ctx, a)
	if err := c.starts.Acquire(ctx, a.id.Agent); err != nil {
		return nil, err
	}
	a.hold(func() { c.starts.Release(a.id.Agent, 1) })
	return nil, nil
}

// hold notes something that the launch has taken, with the function that gives it back.
func (a *attempt) hold(giveBack func()) { a.held = append(a.held, giveBack) }

// release gives back everything that the launch holds, the last first. A second call has
// nothing to do. One goroutine at a time may call it.
func (a *attempt) release() {
	for last := len(a.held) - 1; last >= 0; last-- {
		giveBack := a.held[last]
		a.held = a.held[:last]
		giveBack()
	}
}

// takePlace takes the launch's place below its agent's limit. A launch that replaces a unit
// keeps the unit's place, but only if the unit still exists after the place is held.
func (c *Core) takePlace(ctx context.Context, a *attempt) error {
	if a.old {
		c.limits.hold(a.id)
		_, err := c.Units.Get(ctx, a.id.Unit())
		if err == nil {
			return nil
		}
		c.limits.done(a.id, false)
		if !errors.Is(err, systemd.ErrNoSuchUnit) {
			return hostFailure(ctx, "read the unit", err)
		}
		a.old = false
	}
	return c.admit(ctx, a)
}

// existingUnit returns the sidecar's unit, nil if it has none. For modes keep and adopt it
// waits while the unit starts or stops, because their answer depends on how that ends. It does
// not wait for a restart by systemd: every restart could fail.
func (c *Core) existingUnit(ctx context.Context, a *attempt) (*systemd.Unit, error) {
	for {
		units, err := c.Units.List(ctx, a.id.Unit()) // a tenth of the cost of Get
		switch {
		case err != nil:
			return nil, hostFailure(ctx, "read the unit", err)
		case len(units) == 0:
			return nil, nil
		case !a.mayKeep() || !isStarting(units[0]) && units[0].ActiveState != stateDeactivating:
			return &units[0], nil
		}
		if err := retry.Pause(ctx, settlePoll); err != nil {
			return nil, err
		}
	}
}

// isStarting reports whether the unit is being started, and does not wait for a restart.
func isStarting(u systemd.Unit) bool { return u.ActiveState == stateActivating && !u.WaitsForRestart() }

// modeOf returns the mode of a launch. The default is adopt for an agent that has stand-ins:
// when its container is replaced, it launches everything again, and running sidecars shall go on.
func modeOf(asked *interfaces.LaunchMode, agent *policy.Agent) interfaces.LaunchMode {
	switch {
	case asked != nil:
		return *asked
	case agent.StandIns:
		return interfaces.ModeAdopt
	}
	return interfaces.ModeReplace
}

// mayKeep reports whether the launch may answer with a sidecar that runs already.
func (a *attempt) mayKeep() bool {
	return a.mode == interfaces.ModeKeep || a.mode == interfaces.ModeAdopt
}

// answerFrom answers the launch with the existing unit, or refuses it. If it returns
// neither, the unit is to be replaced.
func (c *Core) answerFrom(old systemd.Unit, a *attempt) (*interfaces.Sidecar, error) {
	exists := &interfaces.SidecarExistsError{ID: a.id.String()}
	switch {
	case a.mode == interfaces.ModeFail && old.ActiveState != stateFailed:
		return nil, exists
	case a.mode == interfaces.ModeKeep && old.WaitsForRestart() && !c.sameLaunch(old, a):
		return nil, exists // systemd starts it again
	case !a.mayKeep() || old.ActiveState != stateActive:
		return nil, nil
	case c.sameLaunch(old, a):
		return new(c.sidecar(old, c.Images())), nil
	case a.mode == interfaces.ModeKeep:
		return nil, exists
	}
	return nil, nil
}

// sameLaunch reports whether the unit's context is the launch's, and its process is in the
// namespace that has the context's name now: an agent that deletes a network and makes it
// again gives another namespace the same name.
func (c *Core) sameLaunch(u systemd.Unit, a *attempt) bool {
	d := documentOf(u)
	if !d.ok || !reflect.DeepEqual(d.context, a.context) {
		return false
	}
	pid := runtimeOf(u, d.engine).ProcessID
	if a.context.NetworkNamespace == nil || pid == nil {
		return true
	}
	in, err := c.Namespaces.Has(a.call.Caller, *a.context.NetworkNamespace, int(*pid))
	if err != nil {
		c.Logger.Warn("cannot tell in which network namespace a sidecar is; it is taken for another one", "unit", u.Name, "error", err)
	}
	return in && err == nil
}

// standIn returns the facts that a stand-in needs, nil if the agent has no stand-ins.
func (a *attempt) standIn(adopted bool) *interfaces.StandIn {
	if !a.decision.Agent.StandIns {
		return nil
	}
	s := &interfaces.StandIn{Adopted: adopted, PIDFiles: []string{}}
	for _, file := range a.decision.PIDFiles {
		s.PIDFiles = append(s.PIDFiles, file.String())
	}
	return s
}

// waited is the error of a call that has touched nothing yet, if its time ended while
// it waited for its turn.
func waited(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &interfaces.OverloadedError{Reason: "the time of the call ended before its turn came; nothing was changed"}
	}
	return err
}

// hostFailure is the error of something that the host could not do. If the caller has
// left, the host has not failed.
func hostFailure(ctx context.Context, what string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", &interfaces.HostFailureError{Reason: what + ": " + err.Error()}, err)
}

// duration returns a number of microseconds, or otherwise for nil.
func duration(usec *int64, otherwise time.Duration) time.Duration {
	if usec == nil {
		return otherwise
	}
	return time.Duration(*usec) * time.Microsecond
}
