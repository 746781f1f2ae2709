package service

import (
	"context"
	"errors"
	"reflect"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// settlePoll is how often a unit is read whose job is out of sight.
const settlePoll = 250 * time.Millisecond

// start starts the unit and judges what became of it by what systemd says of it
// now; the result of its job is only a hint.
func (c *Core) start(ctx context.Context, j *job, properties []systemd.Property) (systemd.Unit, error) {
	unit, err := c.Units.Start(ctx, j.id.Unit(), properties)
	if errors.Is(err, systemd.ErrUnitExists) {
		// Somebody outside the service made a unit of this name meanwhile.
		if _, err := c.Units.Stop(ctx, j.id.Unit(), 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return unit, hostFailure("stop a unit of the same name", err)
		}
		unit, err = c.Units.Start(ctx, j.id.Unit(), properties)
	}
	if errors.Is(err, systemd.ErrDisconnected) {
		unit, err = c.settle(ctx, j, properties)
	}
	var jobErr *systemd.JobError
	if err != nil && !errors.As(err, &jobErr) {
		return unit, hostFailure("start the unit", err)
	}
	if err == nil && unit.ActiveState == "active" {
		return unit, nil
	}
	return unit, c.failure(ctx, j, unit, jobErr)
}

// settle finds out what became of a start whose answer was lost with the bus
// connection, and starts once more only if there is no such unit.
func (c *Core) settle(ctx context.Context, j *job, properties []systemd.Property) (systemd.Unit, error) {
	for {
		unit, err := c.Units.Get(ctx, j.id.Unit())
		switch {
		case errors.Is(err, systemd.ErrNoSuchUnit):
			return c.Units.Start(ctx, j.id.Unit(), properties)
		case err == nil && unit.ActiveState != "activating":
			return unit, nil
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return unit, ctx.Err()
		}
	}
}

// failure says why a unit that was started is not ready. The unit stays, failed,
// so that its record can be looked at.
func (c *Core) failure(ctx context.Context, j *job, unit systemd.Unit, job *systemd.JobError) error {
	output := c.Journal.Output(ctx, unit.InvocationID)
	if unit.Result == "timeout" || (job != nil && job.Result == "timeout") {
		return &interfaces.NotReadyError{TimeoutUSec: j.timeout.Microseconds(), Output: output}
	}
	code, signal := exitOf(unit)
	return &interfaces.LaunchFailedError{ExitCode: code, ExitSignal: signal, Output: output}
}

// sameLaunch reports whether the unit was launched with this context.
func sameLaunch(u systemd.Unit, context interfaces.Context) bool {
	r, ok := recordOf(u)
	return ok && reflect.DeepEqual(r.Context, context)
}
