package service

import (
	"context"
	"errors"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launch"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/systemd"
)

// settlePoll is how often a unit is read whose job is out of sight.
const settlePoll = 100 * time.Millisecond

// start starts the unit, and once more if the engine failed: it does that over what an
// earlier unit left, and the failed unit has cleaned that up. A start that was out of time has
// had its try.
func (c *Core) start(ctx context.Context, j *job) (systemd.Unit, error) {
	unit, err := c.startOnce(ctx, j)
	phase, _ := launch.ParseFailure(unit.StatusText)
	if err == nil || phase != interfaces.PhaseEngine || unit.Result != "exit-code" || ctx.Err() != nil {
		return unit, err
	}
	c.Logger.Warn("the engine failed; it is tried once more", "unit", unit.Name, "error", err)
	if _, err := c.stopUnit(ctx, j.id, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
		return unit, hostFailure(ctx, "stop the unit that failed", err)
	}
	return c.startOnce(ctx, j)
}

// startOnce starts the unit and judges what became of it by what systemd says of
// it now; the result of its job is only a hint.
func (c *Core) startOnce(ctx context.Context, j *job) (systemd.Unit, error) {
	if j.started.IsZero() {
		j.started = time.Now()
	}
	unit, err := c.Units.Start(ctx, j.id.Unit(), j.properties)
	if errors.Is(err, systemd.ErrUnitExists) {
		// Somebody outside the service made a unit of this name meanwhile.
		if !j.replaces() {
			return unit, &interfaces.SidecarExistsError{ID: j.id.String()}
		}
		if _, err := c.stopUnit(ctx, j.id, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return unit, hostFailure(ctx, "stop a unit of the same name", err)
		}
		unit, err = c.Units.Start(ctx, j.id.Unit(), j.properties)
	}
	if errors.Is(err, systemd.ErrDisconnected) {
		unit, err = c.settle(ctx, j)
	}
	var jobErr *systemd.JobError
	if err != nil && !errors.As(err, &jobErr) {
		return unit, hostFailure(ctx, "start the unit", err)
	}
	if err == nil && unit.ActiveState == stateActive {
		return unit, nil
	}
	return unit, c.failure(ctx, j, unit)
}

// settle finds out what became of a start whose answer was lost with the bus
// connection, and starts once more only if there is no such unit.
func (c *Core) settle(ctx context.Context, j *job) (systemd.Unit, error) {
	for {
		unit, err := c.Units.Get(ctx, j.id.Unit())
		switch {
		case errors.Is(err, systemd.ErrNoSuchUnit):
			return c.Units.Start(ctx, j.id.Unit(), j.properties)
		case err == nil && (unit.ActiveState != stateActivating || waitsForRestart(unit)):
			return unit, nil
		}
		if err := pause(ctx, settlePoll); err != nil {
			return unit, err
		}
	}
}

// failure says why a unit that was started is not ready, without its output: see
// withOutput. A failed unit stays, so that its record can be looked at; one that
// systemd would start again does not: the caller is told that nothing runs.
func (c *Core) failure(ctx context.Context, j *job, unit systemd.Unit) error {
	j.failed, j.result = unit.InvocationID, unit.Result
	if unit.LoadState == "loaded" && unit.ActiveState != stateFailed {
		if _, err := c.stopUnit(ctx, j.id, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return hostFailure(ctx, "stop the unit that did not become ready", err)
		}
	}
	if unit.Result == "timeout" {
		return &interfaces.NotReadyError{TimeoutUSec: j.timeout.Microseconds()}
	}
	failed := &interfaces.LaunchFailedError{}
	failed.ExitCode, failed.ExitSignal = exitOf(unit, j.engine)
	phase, reason := launch.ParseFailure(unit.StatusText)
	if phase == "" && (failed.ExitCode != nil || failed.ExitSignal != nil) {
		phase = interfaces.PhasePayload
	}
	failed.Phase, failed.Reason = known(phase), known(reason)
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
// nothing that others wait for. A bounded number of launches read it at once; one
// whose turn does not come in time goes without.
func (c *Core) withOutput(ctx context.Context, j *job, err error) error {
	var failed *interfaces.LaunchFailedError
	var notReady *interfaces.NotReadyError
	switch {
	case errors.As(err, &failed):
		failed.Output = c.outputOf(ctx, j)
	case errors.As(err, &notReady):
		notReady.Output = c.outputOf(ctx, j)
	}
	return err
}

func (c *Core) outputOf(ctx context.Context, j *job) []string {
	waiting, cancel := context.WithTimeout(ctx, outputWait)
	defer cancel()
	if err := c.outputs.Acquire(waiting, j.id.Agent); err != nil {
		c.Logger.Warn("the output of a failed launch is not read: too many wait for the journal", "sidecar", j.id.String())
		return nil
	}
	defer c.outputs.Release(j.id.Agent, 1)
	output := c.Journal.Output(ctx, j.failed)
	if j.result == "oom-kill" {
		output = append(output, "it was out of memory: its profile's memory-max is the limit")
	}
	if host := c.Confinement(); host.AppArmor.On || host.SELinux.Enforcing {
		output = append(output, lsm.Denials(c.Journal.Denials(ctx, j.started), lsm.Launch{
			Program: j.decision.Profile.Command[0], Level: j.decision.Agent.SELinuxLevel,
		}, maxDenials)...)
	}
	return output
}
