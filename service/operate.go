package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// Stop stops a sidecar, removes its record if it failed, and says how its process
// ended. Launches of the sidecar that were asked for before are taken out of the queue,
// and a start that is under way is ended: their callers get ErrLaunchStopped. How a
// process ended that was still starting is not said.
func (c *Core) Stop(ctx context.Context, caller Caller, p interfaces.StopParameters) (interfaces.StopReply, error) {
	var killAfter time.Duration
	var syntax error
	if p.TimeoutUSec != nil {
		killAfter = microseconds(*p.TimeoutUSec)
		syntax = checkTimeout(*p.TimeoutUSec, time.Microsecond, stopTimeout)
	}
	var about subject
	var reply interfaces.StopReply
	var idle bool
	err := whereverItIs(func() (err error) {
		var id interfaces.ID
		id, about, err = c.visible(ctx, caller, actionStop, p.ID, syntax, p.AllowInteractiveAuthentication)
		if err == nil {
			reply, idle, err = c.stop(ctx, id, about, killAfter)
		}
		return err
	})
	c.noteStop(caller, about, idle, err)
	return reply, err
}

// stop ends the launches that were asked for before it, and then stops what is left.
// idle says that there was no unit.
func (c *Core) stop(ctx context.Context, id interfaces.ID, about subject, killAfter time.Duration) (reply interfaces.StopReply, idle bool, err error) {
	unlock, interrupted, err := c.locks.lockStop(ctx, id, killAfter, about.mayInterrupt)
	if err != nil {
		return interfaces.StopReply{}, false, waitedToStop(ctx, interrupted, err)
	}
	defer unlock()
	reply, err = c.stopLocked(ctx, id, about, killAfter)
	if interrupted && errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return interfaces.StopReply{}, true, nil // the launches were all that there was
	}
	return reply, false, err
}

// mayInterrupt reports whether a stop about s may end the launch. A caller that polkit
// authorised may end a launch only in the network namespace that polkit was asked about:
// see sameAsTold. The stop waits for any other launch and then asks polkit again.
func (s subject) mayInterrupt(launch *interruption) bool {
	return s.by.By != ByPolkit || text(launch.netns) == text(s.netns)
}

// waitedToStop is waited for a stop, which may have ended launches.
func waitedToStop(ctx context.Context, interrupted bool, err error) error {
	if interrupted && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &interfaces.OverloadedError{Reason: "the launches of the sidecar were stopped, but the call waited for its turn to stop what runs until its time was over"}
	}
	return waited(ctx, err)
}

// stopLocked stops the sidecar's unit, under the sidecar's lock.
func (c *Core) stopLocked(ctx context.Context, id interfaces.ID, about subject, killAfter time.Duration) (interfaces.StopReply, error) {
	if err := c.stillAsTold(ctx, id, about); err != nil {
		return interfaces.StopReply{}, err
	}
	// A caller that hangs up does not leave a unit half stopped, nor lets the
	// next launch in before the stop is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout+2*grace)
	defer cancel()
	unit, err := c.stopUnit(ctx, id, killAfter)
	if err != nil {
		return interfaces.StopReply{}, missing(ctx, id, "stop the unit", err)
	}
	var reply interfaces.StopReply
	reply.ExitCode, reply.ExitSignal = exitOf(unit, recordOf(unit).engine)
	return reply, nil
}

// stillAsTold is sameAsTold for what is there now, under the sidecar's lock.
func (c *Core) stillAsTold(ctx context.Context, id interfaces.ID, about subject) error {
	if about.by.By != ByPolkit {
		return nil
	}
	unit, err := c.Units.Get(ctx, id.Unit())
	if err != nil {
		return missing(ctx, id, "read the unit", err)
	}
	return c.sameAsTold(about, unit)
}

// stopUnit stops a unit, a bounded number at once: podman removes containers one by one.
//
// A unit that is starting is not killed before its own time-out. Its main process is
// sidecar-launch until the container is made, and if that one is killed, the engine's
// client makes the container after the unit has removed it.
func (c *Core) stopUnit(ctx context.Context, id interfaces.ID, killAfter time.Duration) (systemd.Unit, error) {
	if err := c.stops.Acquire(ctx, id.Agent); err != nil {
		return systemd.Unit{}, err
	}
	defer c.stops.Release(id.Agent, 1)
	defer c.records.forget(id.Unit())
	if killAfter > 0 {
		if u, err := c.Units.Get(ctx, id.Unit()); err != nil || u.ActiveState == stateActivating {
			killAfter = 0
		}
	}
	return c.Units.Stop(ctx, id.Unit(), killAfter)
}

// Signal sends a signal to the side process.
func (c *Core) Signal(ctx context.Context, caller Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error) {
	var syntax error
	if !slices.Contains(interfaces.Signals, p.Signal) {
		syntax = &interfaces.InvalidParameterError{
			Parameter: "signal",
			Reason:    fmt.Sprintf("%.40q is none of %s", p.Signal, strings.Join(interfaces.Signals, ", ")),
		}
	}
	var about subject
	err := whereverItIs(func() (err error) {
		var id interfaces.ID
		id, about, err = c.visible(ctx, caller, actionSignal, p.ID, syntax, p.AllowInteractiveAuthentication)
		if err == nil {
			err = c.signal(ctx, id, about, p.Signal)
		}
		return err
	})
	c.note(caller, "Signal", about, err)
	return interfaces.SignalReply{}, err
}

func (c *Core) signal(ctx context.Context, id interfaces.ID, about subject, signal string) error {
	unit, err := c.Units.Get(ctx, id.Unit())
	if err != nil {
		return missing(ctx, id, "read the unit", err)
	}
	if err := c.sameAsTold(about, unit); err != nil {
		return err
	}
	pid := runtimeOf(unit, c.records.of(unit).engine).ProcessID
	if pid == nil {
		return noSuchSidecar(id) // it has no process that could get a signal
	}
	if err := c.Signaller.Signal(int(*pid), unit.ControlGroup, signal); err != nil {
		return missing(ctx, id, "send the signal", err)
	}
	return nil
}

// visible parses the ID, has the caller authorised for the action, hides what is
// not the caller's, and says what the call is about as far as the caller may know.
// syntax is what is wrong with the rest of the call.
func (c *Core) visible(ctx context.Context, caller Caller, action, s string, syntax error, interactive *bool) (interfaces.ID, subject, error) {
	about := claimed(caller, nil, "")
	id, err := interfaces.ParseID(s)
	if err != nil {
		return id, about, &interfaces.InvalidParameterError{Parameter: "id", Reason: err.Error()}
	}
	if caller.sees(id.Agent) {
		about = subjectOf(id)
	}
	if syntax != nil {
		return id, about, syntax
	}
	q := question{action: action, about: subjectOf(id), recorded: &id, interactive: interactive}
	about.by, err = c.authorise(ctx, caller, &q)
	about.netns = q.netns
	if err == nil && !caller.sees(id.Agent) {
		err = noSuchSidecar(id)
	}
	return id, about, err
}

func missing(ctx context.Context, id interfaces.ID, what string, err error) error {
	if errors.Is(err, systemd.ErrNoSuchUnit) || errors.Is(err, errNoProcess) {
		return noSuchSidecar(id)
	}
	return hostFailure(ctx, what, err)
}

func noSuchSidecar(id interfaces.ID) error {
	s := id.String()
	return &interfaces.NoSuchSidecarError{ID: &s}
}
