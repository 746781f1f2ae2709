package service

import (
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/launch"
	"tripleo.io/sidecar/service/systemd"
)

// sidecar says what a unit is in the terms of the interface. The unit's name must
// be a sidecar's.
func (c *Core) sidecar(u systemd.Unit) interfaces.Sidecar {
	id, _ := interfaces.ParseUnit(u.Name)
	r := c.records.of(u)
	s := interfaces.Sidecar{ID: id.String(), Runtime: runtimeOf(u, r.engine)}
	s.Runtime.Frozen = s.Runtime.ProcessID != nil && c.Frozen(u.InvocationID, int(*s.Runtime.ProcessID))
	if r.ok {
		s.Context = &r.context
		s.Runtime.Image = r.image
		profile, ok := c.policy.Load().Profile(id.Profile)
		s.Runtime.ImageOutdated = ok && profile.Image != r.image
	}
	return s
}

func runtimeOf(u systemd.Unit, e engine.Engine) interfaces.Runtime {
	r := interfaces.Runtime{
		State:        stateOf(u),
		Unit:         u.Name,
		InvocationID: known(u.InvocationID),
		StartedUSec:  known(int64(u.StartedUSec)),
		ReadyUSec:    known(int64(u.ReadyUSec)),
		Restarts:     int64(u.NRestarts),
	}
	if pid, ok := launch.ParseStatus(u.StatusText); ok && r.State == interfaces.StateReady {
		r.ProcessID = known(int64(pid))
	}
	if r.State == interfaces.StateFailed {
		r.ExitedUSec = known(int64(u.ExitedUSec))
		r.ExitCode, r.ExitSignal = exitOf(u, e)
		r.Result = known(u.Result)
	}
	return r
}

// Values of a unit's ActiveState (org.freedesktop.systemd1(5)).
const (
	stateInactive     = "inactive"
	stateActive       = "active"
	stateReloading    = "reloading"
	stateActivating   = "activating"
	stateDeactivating = "deactivating"
	stateFailed       = "failed"
)

// stateOf maps systemd's ActiveState. A unit that waits for its restart is
// starting, and so is one that is inactive: without a job it would not be there.
func stateOf(u systemd.Unit) interfaces.SidecarState {
	switch u.ActiveState {
	case stateActive, stateReloading:
		return interfaces.StateReady
	case stateDeactivating:
		return interfaces.StateStopping
	case stateActivating, stateInactive:
		return interfaces.StateStarting
	}
	return interfaces.StateFailed
}

// Codes of waitid(2) that systemd gives as ExecMainCode.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// exitOf says how the unit's main process ended, as its engine reads it. Both are nil if no
// process ran or it runs still.
func exitOf(u systemd.Unit, e engine.Engine) (code *int64, signal *string) {
	status := int64(u.ExecMainStatus)
	switch u.ExecMainCode {
	case cldExited:
		if number := e.Signal(int(status)); number != 0 {
			signal = known(unix.SignalName(unix.Signal(number)))
		}
		return &status, signal
	case cldKilled, cldDumped:
		return nil, known(unix.SignalName(unix.Signal(status)))
	}
	return nil, nil
}

// known returns nil for a zero value: on the wire, null.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
