package systemd

import (
	"encoding/hex"

	"github.com/godbus/dbus/v5"
)

// Unit is what systemd says of a unit at one moment. The fields are the
// properties of the same names in org.freedesktop.systemd1(5). Times are
// realtime in microseconds, 0 if it has not happened.
type Unit struct {
	Name        string
	LoadState   string // "loaded"; "not-found" if systemd has forgotten the unit
	ActiveState string // "active", "activating", "deactivating", "failed", …
	SubState    string // "running", "start-post", "auto-restart", …
	Result      string // of the service: "success", "exit-code", "signal", "timeout", …

	InvocationID string // 32 hex digits, "" if it never started
	ControlGroup string // below the cgroup root, with a leading slash
	StatusText   string // the last STATUS= of sd_notify(3)
	Environment  []string
	JobID        uint32 // of the job under way, 0 if none

	MainPID        uint32 // 0 if it does not run
	ExecMainCode   int32  // CLD_* of waitid(2), 0 while it runs
	ExecMainStatus int32  // exit code or signal, by ExecMainCode
	NRestarts      uint32 // by Restart=

	StartedUSec uint64 // InactiveExitTimestamp
	ReadyUSec   uint64 // ActiveEnterTimestamp
	ExitedUSec  uint64 // ExecMainExitTimestamp
}

// gone reports whether the unit counts as not there: systemd does not know it, or
// it is inactive, has no job, and only waits to be forgotten.
func (u Unit) gone() bool {
	return u.LoadState == "not-found" || (u.ActiveState == "inactive" && u.JobID == 0)
}

// unitOf reads the properties of a unit. What is missing or has an unexpected type
// is left zero.
func unitOf(name string, p map[string]dbus.Variant) Unit {
	return Unit{
		Name:           name,
		LoadState:      value[string](p, "LoadState"),
		ActiveState:    value[string](p, "ActiveState"),
		SubState:       value[string](p, "SubState"),
		Result:         value[string](p, "Result"),
		InvocationID:   hex.EncodeToString(value[[]byte](p, "InvocationID")),
		ControlGroup:   value[string](p, "ControlGroup"),
		StatusText:     value[string](p, "StatusText"),
		Environment:    value[[]string](p, "Environment"),
		JobID:          jobOf(p),
		MainPID:        value[uint32](p, "MainPID"),
		ExecMainCode:   value[int32](p, "ExecMainCode"),
		ExecMainStatus: value[int32](p, "ExecMainStatus"),
		NRestarts:      value[uint32](p, "NRestarts"),
		StartedUSec:    value[uint64](p, "InactiveExitTimestamp"),
		ReadyUSec:      value[uint64](p, "ActiveEnterTimestamp"),
		ExitedUSec:     value[uint64](p, "ExecMainExitTimestamp"),
	}
}

func value[T any](p map[string]dbus.Variant, name string) T {
	v, _ := p[name].Value().(T)
	return v
}

// jobOf reads the property Job, of type (uo): number and object, 0 and "/" for a unit
// without a job.
func jobOf(p map[string]dbus.Variant) uint32 {
	fields := value[[]any](p, "Job")
	if len(fields) == 0 {
		return 0
	}
	id, _ := fields[0].(uint32)
	return id
}
