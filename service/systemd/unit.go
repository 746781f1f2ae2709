package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/godbus/dbus/v5"
)

// Unit is the state of a unit at one moment. List leaves out what only an ended unit or a
// caller who acts on it needs: MainPID, ControlGroup and Restarts, and of a unit that runs Result, Exec…
// and ExitedUSec. The fields are the properties of the same
// names in org.freedesktop.systemd1(5). Times are realtime in microseconds, 0 for what has
// not happened.
type Unit struct {
	Name        string
	LoadState   string // "loaded"; "not-found" if systemd has forgotten the unit
	ActiveState string // "active", "activating", "deactivating", "failed", …
	SubState    string // "running", "start-post", "auto-restart", …
	Result      string // of the service: "success", "exit-code", "signal", "timeout", …

	InvocationID string // 32 hex digits, "" if it never started
	ControlGroup string // below the cgroup root, with a leading slash
	StatusText   string // the last STATUS= of sd_notify(3)
	Digest       any    // what Config.Digest has made of Environment; copies of the unit share it
	JobID        uint32 // of the job under way, 0 if none

	MainPID        uint32 // 0 if no main process runs
	ExecMainCode   int32  // CLD_* of waitid(2), 0 while it runs
	ExecMainStatus int32  // exit code or signal, by ExecMainCode
	NRestarts      uint32 // by Restart=
	Restarts       bool   // Restart= is not "no"

	StartedUSec uint64 // InactiveExitTimestamp
	ReadyUSec   uint64 // ActiveEnterTimestamp
	ExitedUSec  uint64 // ExecMainExitTimestamp
	RestartUSec uint64 // when a unit that waits for its restart is started again
}

// WaitsForRestart reports whether the unit's process has ended and systemd is about to start
// it again (Restart=). The SubState is auto-restart, and auto-restart-queued from systemd 254
// on.
func (u Unit) WaitsForRestart() bool { return waitsForRestart(u.ActiveState, u.SubState) }

func waitsForRestart(activeState, subState string) bool {
	return activeState == "activating" && strings.HasPrefix(subState, "auto-restart")
}

// gone reports whether systemd does not know the unit, or will forget it: an inactive unit
// without a job.
func (u Unit) gone() bool {
	return u.LoadState == "not-found" || (u.ActiveState == "inactive" && u.JobID == 0)
}

// listed returns the unit as List answers it.
func (u Unit) listed() Unit {
	u.MainPID, u.ControlGroup, u.Restarts = 0, "", false
	if runs(u.ActiveState, u.SubState) {
		u.Result, u.ExecMainCode, u.ExecMainStatus, u.ExitedUSec = "", 0, 0, 0
	}
	return u
}

// runs reports whether a unit in these states has neither ended nor failed, and does not wait for
// its restart.
func runs(activeState, subState string) bool {
	return activeState != "failed" && activeState != "inactive" && !waitsForRestart(activeState, subState)
}

// unitOf reads the properties of a unit, without its digest. Those that are missing or have
// an unexpected type stay zero. Its strings are copies: a string from godbus is part of a
// block of 4 KiB, which would stay in memory as long as the string.
func unitOf(name string, p map[string]dbus.Variant) Unit {
	u := Unit{
		Name:           strings.Clone(name),
		LoadState:      word(p, "LoadState"),
		ActiveState:    word(p, "ActiveState"),
		SubState:       word(p, "SubState"),
		Result:         word(p, "Result"),
		InvocationID:   hex.EncodeToString(value[[]byte](p, "InvocationID")),
		ControlGroup:   strings.Clone(value[string](p, "ControlGroup")),
		StatusText:     strings.Clone(value[string](p, "StatusText")),
		JobID:          jobOf(p),
		MainPID:        value[uint32](p, "MainPID"),
		ExecMainCode:   value[int32](p, "ExecMainCode"),
		ExecMainStatus: value[int32](p, "ExecMainStatus"),
		NRestarts:      value[uint32](p, "NRestarts"),
		Restarts:       !slices.Contains([]string{"", "no"}, value[string](p, "Restart")),
		StartedUSec:    value[uint64](p, "InactiveExitTimestamp"),
		ReadyUSec:      value[uint64](p, "ActiveEnterTimestamp"),
		ExitedUSec:     value[uint64](p, "ExecMainExitTimestamp"),
	}
	if u.WaitsForRestart() { // since it has ended; systemd does not tell its timer
		u.RestartUSec = value[uint64](p, "InactiveEnterTimestamp") + value[uint64](p, "RestartUSec")
	}
	return u
}

func value[T any](p map[string]dbus.Variant, name string) T {
	v, _ := p[name].Value().(T)
	return v
}

// word reads one of a few words.
func word(p map[string]dbus.Variant, name string) string { return shared(value[string](p, name)) }

// shared returns the one copy of a word that all units share.
func shared(word string) string { return unique.Make(word).Value() }

// digest sets the unit's digest.
func (c *Conn) digest(u *Unit, environment []string) {
	if c.config.Digest != nil {
		u.Digest = c.config.Digest(environment)
	}
}

// jobOf reads the number in the property Job, (uo), which is 0 without a job.
func jobOf(p map[string]dbus.Variant) uint32 {
	fields := value[[]any](p, "Job")
	if len(fields) == 0 {
		return 0
	}
	id, _ := fields[0].(uint32)
	return id
}

// Get reads a unit. It returns ErrNoSuchUnit for a unit that systemd does not know, or that
// is inactive without a job.
//
// It asks for the name first: to read an unknown unit, systemd would load it, answer some
// 400 empty properties, and announce that it removes the unit.
func (c *Conn) Get(ctx context.Context, name string) (Unit, error) {
	if _, err := c.retry(ctx, managerPath, managerMethod+"GetUnit", name); err != nil {
		return Unit{}, fmt.Errorf("%s: %w", name, err)
	}
	u, err := c.read(ctx, name)
	if err == nil && u.gone() {
		return Unit{}, fmt.Errorf("%s: %w", name, ErrNoSuchUnit)
	}
	return u, err
}

// read reads a unit, whether or not systemd knows it. With an empty interface GetAll
// returns the properties of all interfaces at one moment.
func (c *Conn) read(ctx context.Context, name string) (Unit, error) {
	path := unitPath(name)
	r := c.cache.begin(path)
	body, err := c.retry(ctx, path, "org.freedesktop.DBus.Properties.GetAll", "")
	if err != nil {
		return Unit{}, err
	}
	var properties map[string]dbus.Variant
	if err := dbus.Store(body, &properties); err != nil {
		return Unit{}, fmt.Errorf("read unit %s: %w", name, err)
	}
	u := unitOf(name, properties)
	c.digest(&u, value[[]string](properties, "Environment"))
	c.cache.store(r, u, time.Now())
	return u, nil
}

// SetProperties changes properties of a unit until the next boot, as systemctl set-property
// --runtime does. The unit need not run: systemd writes them into drop-ins.
func (c *Conn) SetProperties(ctx context.Context, name string, properties []Property) error {
	if _, err := c.retry(ctx, managerPath, managerMethod+"SetUnitProperties", name, true, properties); err != nil {
		return fmt.Errorf("set properties of %s: %w", name, err)
	}
	return nil
}

// ResetFailed makes systemd forget a failed unit. It leaves other units alone.
func (c *Conn) ResetFailed(ctx context.Context, name string) error {
	_, err := c.retry(ctx, managerPath, managerMethod+"ResetFailedUnit", name)
	c.cache.touch(unitPath(name))
	return err
}
