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

// signals are those that a caller may send. All of them mean something to the
// payloads; stopping for debugging (SIGSTOP) would look like an outage.
var signals = []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGKILL", "SIGWINCH"}

// Stop stops a sidecar, removes its record if it failed, and says how its process
// ended.
func (c *Core) Stop(ctx context.Context, caller Caller, p interfaces.StopParameters) (interfaces.StopReply, error) {
	id, err := c.visible(caller, p.ID)
	var reply interfaces.StopReply
	if err == nil {
		err = checkTimeout(p.TimeoutUSec)
	}
	if err == nil {
		reply, err = c.stop(ctx, id, p.TimeoutUSec)
	}
	c.note(caller, "Stop", id, err)
	return reply, err
}

func (c *Core) stop(ctx context.Context, id interfaces.ID, timeoutUSec *int64) (interfaces.StopReply, error) {
	unlock, err := c.locks.lock(ctx, id)
	if err != nil {
		return interfaces.StopReply{}, waitedTooLong(err)
	}
	defer unlock()
	var killAfter time.Duration
	if timeoutUSec != nil {
		killAfter = time.Duration(*timeoutUSec) * time.Microsecond
	}
	// A caller that hangs up does not leave a unit half stopped, nor lets the
	// next launch in before the stop is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killAfter+stopTimeout+2*grace)
	defer cancel()
	unit, err := c.Units.Stop(ctx, id.Unit(), killAfter)
	if err != nil {
		return interfaces.StopReply{}, missing(id, "stop the unit", err)
	}
	var reply interfaces.StopReply
	reply.ExitCode, reply.ExitSignal = exitOf(unit)
	return reply, nil
}

// Signal sends a signal to the side process.
func (c *Core) Signal(ctx context.Context, caller Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error) {
	id, err := c.visible(caller, p.ID)
	if err == nil && !slices.Contains(signals, p.Signal) {
		err = &interfaces.InvalidParameterError{
			Parameter: "signal",
			Reason:    fmt.Sprintf("%.40q is none of %s", p.Signal, strings.Join(signals, ", ")),
		}
	}
	if err == nil {
		err = c.signal(ctx, id, p.Signal)
	}
	c.note(caller, "Signal", id, err)
	return interfaces.SignalReply{}, err
}

func (c *Core) signal(ctx context.Context, id interfaces.ID, signal string) error {
	unit, err := c.Units.Get(ctx, id.Unit())
	if err != nil {
		return missing(id, "read the unit", err)
	}
	pid := runtimeOf(unit).ProcessID
	if pid == nil {
		return noSuchSidecar(id) // it has no process that could get a signal
	}
	if err := c.Signaller.Signal(int(*pid), unit.ControlGroup, signal); err != nil {
		return missing(id, "send the signal", err)
	}
	return nil
}

// visible parses the ID and hides what is not the caller's.
func (c *Core) visible(caller Caller, s string) (interfaces.ID, error) {
	id, err := interfaces.ParseID(s)
	if err != nil {
		return id, &interfaces.InvalidParameterError{Parameter: "id", Reason: err.Error()}
	}
	if err := caller.authorise(); err != nil {
		return id, err
	}
	if !caller.sees(id.Agent) {
		return id, noSuchSidecar(id)
	}
	return id, nil
}

func missing(id interfaces.ID, what string, err error) error {
	if errors.Is(err, systemd.ErrNoSuchUnit) || errors.Is(err, errNoProcess) {
		return noSuchSidecar(id)
	}
	return hostFailure(what, err)
}

func noSuchSidecar(id interfaces.ID) error {
	s := id.String()
	return &interfaces.NoSuchSidecarError{ID: &s}
}

func (c *Core) note(caller Caller, method string, id interfaces.ID, err error) {
	d := Decision{Caller: caller, Method: method, Agent: id.Agent, Profile: id.Profile, Err: err}
	if id.Hash != "" {
		d.SidecarID = id.String()
	}
	c.Journal.Record(d)
}
