package service

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// sidecar describes a unit in the terms of the interface. The unit's name must
// be a sidecar's. images are c.Images.
func (c *Core) sidecar(u systemd.Unit, images map[string]string) interfaces.Sidecar {
	id, _ := interfaces.ParseUnit(u.Name)
	d := documentOf(u)
	s := interfaces.Sidecar{ID: id.String(), Runtime: runtimeOf(u, d.engine)}
	s.Runtime.WaitsUntilUSec = orNil(d.waitsUntil)
	s.Runtime.Frozen = s.Runtime.ProcessID != nil && c.Frozen(u.InvocationID, int(*s.Runtime.ProcessID))
	if d.ok {
		s.Context = &d.context
		s.Runtime.Image, s.Runtime.Engine, s.Runtime.OCIRuntime = d.image, d.engineName, orNil(d.runtime)
		if d.probed && s.Runtime.State == interfaces.StateReady {
			health := launcher.ParseHealth(u.StatusText)
			s.Runtime.Health, s.Runtime.HealthReason = &health.State, orNil(health.Reason)
			s.Runtime.HealthSinceUSec = orNil(health.SinceUSec)
		}
		s.Runtime.ImageOutdated = c.outdated(id, s.Runtime, images)
	}
	return s
}

// outdated reports whether the policy has another image now than the one that the sidecar runs.
func (c *Core) outdated(id interfaces.ID, r interfaces.Runtime, images map[string]string) bool {
	image, ok := c.policy.Load().Image(id.Agent, id.Profile)
	return ok && r.Image != "" && (image != r.Image || replaced(images[image], r.ImageID))
}

// replaced reports whether an image's name stands for another image now than the one that runs.
// It does not if one of them is not known.
func replaced(now string, runs *string) bool { return now != "" && runs != nil && now != *runs }

func runtimeOf(u systemd.Unit, e engine.Engine) interfaces.Runtime {
	r := interfaces.Runtime{
		State:        stateOf(u),
		Unit:         u.Name,
		InvocationID: orNil(u.InvocationID),
		StartedUSec:  orNil(int64(u.StartedUSec)),
		ReadyUSec:    orNil(int64(u.ReadyUSec)),
		Restarts:     int64(u.NRestarts),
	}
	// A unit that is started again keeps the text of the run before for a moment.
	if pid, image, ok := launcher.ParseStatus(u.StatusText); ok && r.State != interfaces.StateStarting {
		r.ImageID = orNil(image)
		if r.State == interfaces.StateReady {
			r.ProcessID = orNil(int64(pid))
		}
	}
	if r.State == interfaces.StateRestarting {
		r.StartedUSec, r.RestartUSec = nil, orNil(int64(u.RestartUSec))
	}
	if r.State == interfaces.StateFailed || r.State == interfaces.StateRestarting {
		r.ExitedUSec = orNil(int64(u.ExitedUSec))
		r.ExitCode, r.ExitSignal = exitOf(u, e)
		r.Result, r.MemoryLimit = orNil(u.Result), memoryLimitOf(u)
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

// memoryLimitOf returns whose limit a unit has reached, nil unless it ran out of memory. Its
// clean-up has told systemd.
func memoryLimitOf(u systemd.Unit) *interfaces.MemoryLimit {
	if u.Result != interfaces.ResultOutOfMemory {
		return nil
	}
	return orNil(launcher.ParseOutOfMemory(u.StatusText))
}

// stateOf maps systemd's ActiveState. An inactive unit is starting: systemd keeps it only because
// it has a job.
func stateOf(u systemd.Unit) interfaces.SidecarState {
	if u.WaitsForRestart() {
		return interfaces.StateRestarting
	}
	switch u.ActiveState {
	case stateActive, stateReloading:
		return interfaces.StateReady
	case stateDeactivating:
		return interfaces.StateStopping
	case stateActivating, stateInactive:
		return interfaces.StateStarting
	case stateWaiting:
		return interfaces.StateWaiting
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
// process ran or it still runs.
func exitOf(u systemd.Unit, e engine.Engine) (code *int64, signal *string) {
	status := int64(u.ExecMainStatus)
	switch u.ExecMainCode {
	case cldExited:
		if number := e.Signal(int(status)); number != 0 {
			signal = orNil(unix.SignalName(unix.Signal(number)))
		}
		return &status, signal
	case cldKilled, cldDumped:
		return nil, orNil(unix.SignalName(unix.Signal(status)))
	}
	return nil, nil
}

// orNil returns nil for a zero value: on the wire, null.
func orNil[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// errNoProcess means that the process does not exist, or is not the unit's any more.
var errNoProcess = errors.New("no such process in the unit")

// PIDFDSignaller sends signals through pidfds, so that no other process gets the signal that
// has the process ID meanwhile: pidfd_open(2), then the control group is compared, then
// pidfd_send_signal(2). It needs CAP_KILL for payloads that run as another user.
type PIDFDSignaller struct{}

// Signal sends the signal to the process if it is in the control group or below
// it.
func (PIDFDSignaller) Signal(pid int, controlGroup, signal string) error {
	number := unix.SignalNum(signal)
	if number == 0 || pid <= 1 || controlGroup == "" {
		return fmt.Errorf("cannot send %q to process %d in control group %q", signal, pid, controlGroup)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return errNoProcess
	}
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	group, err := controlGroupOf(pid)
	if err != nil || group != controlGroup && !strings.HasPrefix(group, controlGroup+"/") {
		return errNoProcess
	}
	if err = unix.PidfdSendSignal(fd, number, nil, 0); errors.Is(err, unix.ESRCH) {
		return errNoProcess
	}
	return err
}

// controlGroupOf returns the control group of a process: the unified entry "0::PATH" of
// /proc/PID/cgroup (cgroups(7)), "" if the process has no such entry.
func controlGroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", nil
}
