package service

import (
	"context"
	"errors"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/systemd"
)

// startDetached completes the launch whether or not the caller waits for it.
func (c *Core) startDetached(ctx context.Context, a *attempt) (*interfaces.Sidecar, error) {
	var sidecar *interfaces.Sidecar
	var err error
	done := make(chan struct{})
	c.detached.Go(func() {
		defer close(done)
		sidecar, err = c.startAndRecord(context.WithoutCancel(ctx), a)
	})
	select {
	case <-done:
		return sidecar, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startAndRecord starts the launch, and reads and writes the journal after the launch has
// released its lock and slot.
func (c *Core) startAndRecord(ctx context.Context, a *attempt) (s *interfaces.Sidecar, err error) {
	defer c.caught("a launch", &err)
	s, err = c.startAndRelease(ctx, a)
	err = c.withOutput(ctx, a, err)
	outcome := a.call.Decision
	outcome.Outcome, outcome.Err = true, err
	c.Journal.Record(outcome)
	return s, err
}

// startAndRelease replaces or starts the unit, and releases what the launch holds. It
// releases before the answer: a caller that has the answer must not find the sidecar locked.
func (c *Core) startAndRelease(ctx context.Context, a *attempt) (s *interfaces.Sidecar, err error) {
	defer c.caught("a launch", &err)
	defer a.release()
	ctx, cancel := context.WithTimeout(ctx, a.timeout+stopTimeout+2*grace)
	defer cancel()
	// Even a start that systemd did not answer may have made a unit. A recount corrects a
	// count that is too high, but not one that is too low.
	a.begun = true
	s, a.err = c.replace(ctx, a)
	// Also if systemd has just answered that it is ready: the stop came before.
	if a.interruption.happened() {
		s, a.err = nil, c.undo(ctx, a)
	}
	return s, a.err
}

// replace stops the old unit, if it exists, and starts the new one. A Stop of the sidecar
// ends it.
func (c *Core) replace(ctx context.Context, a *attempt) (*interfaces.Sidecar, error) {
	ctx, unbind := a.interruption.bind(ctx)
	defer unbind()
	if a.old {
		if err := c.removeUnit(ctx, a.id, "stop the old unit"); err != nil {
			return nil, err
		}
	}
	unit, err := c.start(ctx, a)
	if err != nil {
		return nil, err
	}
	return new(c.sidecar(unit, c.Images())), nil
}

// removeUnit stops the sidecar's unit if it exists. what begins the text of its error.
func (c *Core) removeUnit(ctx context.Context, id interfaces.ID, what string) error {
	if _, err := c.stopUnit(ctx, id, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
		return hostFailure(ctx, what, err)
	}
	return nil
}

// undo stops the unit that an interrupted launch was about to replace or has begun to
// start, and returns the launch's error. systemd takes our calls in their order, so
// the stop finds the unit of a start that was sent and not answered yet. While systemd
// does not answer, undo tries again: the unit could come up later.
func (c *Core) undo(ctx context.Context, a *attempt) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout+2*grace)
	defer cancel()
	for {
		_, err := c.stopUnit(ctx, a.id, a.interruption.killAfter)
		if err == nil || errors.Is(err, systemd.ErrNoSuchUnit) {
			return &interfaces.LaunchStoppedError{ID: a.id.String()}
		}
		if !errors.Is(err, systemd.ErrDisconnected) || retry.Pause(ctx, settlePoll) != nil {
			return hostFailure(ctx, "stop the unit of a launch that was stopped", err)
		}
	}
}

// start starts the unit, and once more if the engine failed because of what an earlier unit
// left: the failed unit has cleaned that up. It does not repeat a start that timed out. A busy
// systemd may not have read the phase, so the exit code says it, too.
func (c *Core) start(ctx context.Context, a *attempt) (systemd.Unit, error) {
	unit, err := c.startOnce(ctx, a)
	phase, reason := launcher.ParseFailure(unit.StatusText)
	code, _ := exitOf(unit, a.engine)
	engineFailed := phase == interfaces.PhaseEngine || phase == "" && code != nil && a.engine.Failed(int(*code))
	if err == nil || !engineFailed || unit.Result != "exit-code" || ctx.Err() != nil {
		return unit, err
	}
	if strings.HasPrefix(reason, engine.Unprepared) {
		if err := c.prepareAgain(ctx, a); err != nil {
			return unit, &interfaces.LaunchFailedError{ExitCode: code, Phase: new(phase), Reason: new(err.Error())}
		}
	}
	c.Logger.Warn("the engine failed; it is tried once more", "unit", unit.Name, "error", err)
	if err := c.removeUnit(ctx, a.id, "stop the unit that failed"); err != nil {
		return unit, err
	}
	return c.startOnce(ctx, a)
}

// startOnce starts the unit and judges by the unit that systemd returns; the result of its
// job is only a hint.
func (c *Core) startOnce(ctx context.Context, a *attempt) (systemd.Unit, error) {
	if a.started.IsZero() {
		a.started = time.Now()
	}
	unit, err := c.Units.Start(ctx, a.id.Unit(), a.properties)
	if errors.Is(err, systemd.ErrUnitExists) {
		// Another program than the service made a unit of this name meanwhile.
		if a.mode != interfaces.ModeReplace && a.mode != interfaces.ModeAdopt {
			return unit, &interfaces.SidecarExistsError{ID: a.id.String()}
		}
		if err := c.removeUnit(ctx, a.id, "stop a unit of the same name"); err != nil {
			return unit, err
		}
		unit, err = c.Units.Start(ctx, a.id.Unit(), a.properties)
	}
	if errors.Is(err, systemd.ErrDisconnected) {
		unit, err = c.startedUnit(ctx, a)
	}
	if _, failed := errors.AsType[*systemd.JobError](err); err != nil && !failed {
		return unit, hostFailure(ctx, "start the unit", err)
	}
	if err == nil && unit.ActiveState == stateActive {
		return unit, nil
	}
	unit = c.stopped(ctx, unit)
	return unit, c.failure(ctx, a, unit)
}

// stopped waits until a unit that is stopping has ended, and returns it: a unit that systemd would
// restart is stopped by its own clean-up (sidecar-launch clean), which ends the start job before the
// unit has ended.
func (c *Core) stopped(ctx context.Context, unit systemd.Unit) systemd.Unit {
	for unit.ActiveState == stateDeactivating && retry.Pause(ctx, settlePoll) == nil {
		now, err := c.Units.Get(ctx, unit.Name)
		if err != nil {
			break
		}
		unit = now
	}
	return unit
}

// startedUnit waits for the result of a start whose answer was lost with the bus
// connection, and starts once more only if the unit does not exist.
func (c *Core) startedUnit(ctx context.Context, a *attempt) (systemd.Unit, error) {
	for {
		unit, err := c.Units.Get(ctx, a.id.Unit())
		switch {
		case errors.Is(err, systemd.ErrNoSuchUnit):
			return c.Units.Start(ctx, a.id.Unit(), a.properties)
		case err == nil && !isStarting(unit):
			return unit, nil
		}
		if err := retry.Pause(ctx, settlePoll); err != nil {
			return unit, err
		}
	}
}

// failure says why a unit that was started is not ready, without its output: see
// withOutput. A failed unit stays, so that operators can look at it. A unit that
// systemd would start again, because its clean-up was killed, is stopped: the caller is told that
// nothing runs.
func (c *Core) failure(ctx context.Context, a *attempt, unit systemd.Unit) error {
	a.failed = unit
	if unit.LoadState == "loaded" && unit.ActiveState != stateFailed {
		if err := c.removeUnit(ctx, a.id, "stop the unit that did not become ready"); err != nil {
			return err
		}
	}
	if unit.Result == "timeout" {
		return &interfaces.NotReadyError{TimeoutUSec: a.timeout.Microseconds()}
	}
	failed := &interfaces.LaunchFailedError{}
	failed.ExitCode, failed.ExitSignal = exitOf(unit, a.engine)
	failed.Result, failed.MemoryLimit = orNil(unit.Result), memoryLimitOf(unit)
	phase, reason := launcher.ParseFailure(unit.StatusText)
	if phase == "" && (failed.ExitCode != nil || failed.ExitSignal != nil) {
		phase = interfaces.PhasePayload
	}
	failed.Phase, failed.Reason = orNil(phase), orNil(reason)
	return failed
}

const (
	// outputWait is how long a launch that failed waits for its turn to read the journal.
	outputWait = 10 * time.Second
	// maxDenials is how many denials of security modules the caller is told.
	maxDenials = 5
)

// withOutput adds the last lines that a unit wrote to the error of its start, and what
// security modules denied it: podman mostly does not say so itself. It reads
// the journal, which can take seconds, so it must be called when the launch holds
// nothing that others wait for. A bounded number of launches read it at once; a launch
// whose turn does not come in time has no output.
func (c *Core) withOutput(ctx context.Context, a *attempt, err error) error {
	if failed, ok := errors.AsType[*interfaces.LaunchFailedError](err); ok {
		failed.Output = c.outputOf(ctx, a)
	} else if notReady, ok := errors.AsType[*interfaces.NotReadyError](err); ok {
		notReady.Output = c.outputOf(ctx, a)
	}
	return err
}

// outOfMemory says what to change for a launch that ran out of memory.
var outOfMemory = map[interfaces.MemoryLimit]string{
	interfaces.MemoryLimitProfile: "it was out of memory: memory-max in its profile is the limit",
	interfaces.MemoryLimitAgent:   "it was out of memory: memory-max of [limits] in its agent's file, for all of the agent's sidecars, is the limit",
	interfaces.MemoryLimitHost:    "it was out of memory: the host had no more",
}

func (c *Core) outputOf(ctx context.Context, a *attempt) []string {
	waiting, cancel := context.WithTimeout(ctx, outputWait)
	defer cancel()
	if err := c.outputs.Acquire(waiting, a.id.Agent); err != nil {
		c.Logger.Warn("the output of a failed launch is not read: too many wait for the journal", "sidecar", a.id.String())
		return nil
	}
	defer c.outputs.Release(a.id.Agent, 1)
	output := c.Journal.Output(ctx, a.id, a.failed.InvocationID, a.started)
	if limit := memoryLimitOf(a.failed); limit != nil {
		output = append(output, outOfMemory[*limit])
	}
	if host := c.Confinement(); host.AppArmor.On || host.SELinux.Enforcing {
		output = append(output, lsm.Denials(c.Journal.Denials(ctx, a.started), lsm.Launch{
			Program: a.decision.Profile.Command[0], Level: a.decision.Agent.SELinuxLevel,
		}, maxDenials)...)
	}
	return output
}
