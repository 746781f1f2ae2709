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

// Stop stops a sidecar, removes its unit if it failed, and says how its process ended.
// Launches of the sidecar that were asked for before are taken out of the queue, and a
// start that is under way is ended: their callers get ErrLaunchStopped. The reply does not
// say how a process ended that was still starting.
func (c *Core) Stop(ctx context.Context, caller Caller, p interfaces.StopParameters) (reply interfaces.StopReply, err error) {
	call := newCall(caller, "Stop", actionStop, nil, "", p.AllowInteractiveAuthentication)
	err = c.operate(ctx, call, p.ID, checkTimeout(p.TimeoutUSec, time.Microsecond, stopTimeout), func() (err error) {
		reply, err = c.stop(ctx, call, duration(p.TimeoutUSec, 0))
		return err
	})
	c.record(call, err)
	return reply, err
}

// Signal sends a signal to the side process.
func (c *Core) Signal(ctx context.Context, caller Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error) {
	var syntax error
	if !slices.Contains(interfaces.Signals, p.Signal) {
		syntax = invalid("signal", fmt.Sprintf("%.40q is not one of %s", p.Signal, strings.Join(interfaces.Signals, ", ")))
	}
	call := newCall(caller, "Signal", actionSignal, nil, "", p.AllowInteractiveAuthentication)
	err := c.operate(ctx, call, p.ID, syntax, func() error { return c.signal(ctx, call, p.Signal) })
	c.record(call, err)
	return interfaces.SignalReply{}, err
}

// operate parses the ID, has the caller authorised, and then calls do, which uses call.sidecar.
// Sidecars of other agents do not exist for an agent. syntax is the error of the other
// parameters.
func (c *Core) operate(ctx context.Context, call *call, s string, syntax error, do func() error) error {
	id, err := parseID(s)
	if err != nil {
		return err
	}
	visible := call.Caller.sees(id.Agent)
	if visible {
		call.setSidecar(id)
	}
	if syntax != nil {
		return syntax
	}
	return untilNotMoved(func() error {
		if err := c.authorise(ctx, call); err != nil {
			return err
		}
		if !visible {
			return noSuchSidecar(id)
		}
		return do()
	})
}

// stop ends the launches that were asked for before it, and then stops the unit.
func (c *Core) stop(ctx context.Context, call *call, killAfter time.Duration) (interfaces.StopReply, error) {
	unlock, interrupted, err := c.locks.lockStop(ctx, *call.sidecar, killAfter, call.mayInterrupt)
	if err != nil {
		err = waited(ctx, err)
		if interrupted && errors.Is(err, interfaces.ErrOverloaded) {
			err = &interfaces.OverloadedError{
				Reason: "the launches of the sidecar were stopped, but the time of the call ended before its unit could be stopped",
			}
		}
		return interfaces.StopReply{}, err
	}
	defer unlock()
	reply, err := c.stopLocked(ctx, call, killAfter)
	if interrupted && errors.Is(err, interfaces.ErrNoSuchSidecar) {
		call.Kept = true // only launches were stopped
		return interfaces.StopReply{}, nil
	}
	return reply, err
}

// mayInterrupt reports whether the stop may end the launch. A caller that polkit authorised
// may end a launch only in the network namespace that polkit was asked about: see
// checkNamespace. The stop waits for any other launch and then asks polkit again.
func (call *call) mayInterrupt(launch *interruption) bool {
	return call.Authorisation.By != ByPolkit || orEmpty(launch.netns) == orEmpty(call.netns)
}

// stopLocked stops the sidecar's unit, under the sidecar's lock.
func (c *Core) stopLocked(ctx context.Context, call *call, killAfter time.Duration) (interfaces.StopReply, error) {
	if call.Authorisation.By == ByPolkit {
		if _, err := c.unitOf(ctx, call); err != nil {
			return interfaces.StopReply{}, err
		}
	}
	// If the caller leaves, the unit is stopped all the same, and the lock is held until then.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout+2*grace)
	defer cancel()
	waits := c.recorded.waits(*call.sidecar)
	unit, err := c.stopUnit(ctx, *call.sidecar, killAfter)
	if err == nil || errors.Is(err, systemd.ErrNoSuchUnit) {
		if err := c.dropRecord(*call.sidecar); err != nil {
			return interfaces.StopReply{}, err
		}
	}
	if waits && errors.Is(err, systemd.ErrNoSuchUnit) {
		call.Kept = true // it does not come back
		return interfaces.StopReply{}, nil
	}
	if err != nil {
		return interfaces.StopReply{}, missing(ctx, *call.sidecar, "stop the unit", err)
	}
	var reply interfaces.StopReply
	reply.ExitCode, reply.ExitSignal = exitOf(unit, documentOf(unit).engine)
	return reply, nil
}

// unitOf reads the unit of the call's sidecar, and checks that it is where polkit was told.
func (c *Core) unitOf(ctx context.Context, call *call) (systemd.Unit, error) {
	unit, err := c.getOrWaiting(ctx, *call.sidecar)
	if err != nil {
		return unit, missing(ctx, *call.sidecar, "read the unit", err)
	}
	return unit, c.checkNamespace(call, unit)
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
	if killAfter > 0 {
		if u, err := c.Units.Get(ctx, id.Unit()); err != nil || u.ActiveState == stateActivating {
			killAfter = 0
		}
	}
	return c.Units.Stop(ctx, id.Unit(), killAfter)
}

// endingSignals ask a process to end.
var endingSignals = []string{"SIGTERM", "SIGINT", "SIGQUIT", "SIGKILL"}

// signal sends a signal. A process that a signal ends must not be started again; the way in which
// it ends does not tell systemd so if it handles the signal.
func (c *Core) signal(ctx context.Context, call *call, signal string) error {
	unit, err := c.unitOf(ctx, call)
	if err != nil {
		return err
	}
	if unit.Restarts && slices.Contains(endingSignals, signal) {
		// Whoever holds the lock stops or replaces the unit.
		if unlock, ok := c.locks.tryLock(*call.sidecar); ok {
			defer unlock()
			return c.endBySignal(ctx, call, signal)
		}
	}
	return c.signalProcess(ctx, call, unit, signal)
}

// endBySignal sends a signal and has systemd stop the unit, which is then not started again. It
// must be called under the sidecar's lock. The stop sends SIGTERM itself, and SIGKILL if that does
// not help.
func (c *Core) endBySignal(ctx context.Context, call *call, signal string) error {
	unit, err := c.unitOf(ctx, call) // it may have been replaced before the lock was taken
	if err != nil {
		return err
	}
	switch state := stateOf(unit); {
	case state == interfaces.StateRestarting, state == interfaces.StateReady && signal == "SIGTERM":
	default:
		if err := c.signalProcess(ctx, call, unit, signal); err != nil {
			return err
		}
	}
	err = c.Units.QueueStop(ctx, unit.Name)
	if errors.Is(err, systemd.ErrNoSuchUnit) {
		return nil // the signal has ended it already
	}
	if err != nil {
		return hostFailure(ctx, "stop the unit, so that it is not started again", err)
	}
	return nil
}

func (c *Core) signalProcess(ctx context.Context, call *call, unit systemd.Unit, signal string) error {
	pid := runtimeOf(unit, documentOf(unit).engine).ProcessID
	if pid == nil {
		return noSuchSidecar(*call.sidecar) // it has no process that could get a signal
	}
	if err := c.Signaller.Signal(int(*pid), unit.ControlGroup, signal); err != nil {
		return missing(ctx, *call.sidecar, "send the signal", err)
	}
	return nil
}

// missing is ErrNoSuchSidecar for a unit or a process that does not exist, and else a host
// failure.
func missing(ctx context.Context, id interfaces.ID, what string, err error) error {
	if errors.Is(err, systemd.ErrNoSuchUnit) || errors.Is(err, errNoProcess) {
		return noSuchSidecar(id)
	}
	return hostFailure(ctx, what, err)
}

func noSuchSidecar(id interfaces.ID) error {
	return &interfaces.NoSuchSidecarError{ID: new(id.String())}
}
