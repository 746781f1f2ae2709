package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/errgroup"
)

// Unit is the state of a unit at one moment. The fields are the properties of the same
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
	Environment  []string
	JobID        uint32 // of the job under way, 0 if none

	MainPID        uint32 // 0 if no main process runs
	ExecMainCode   int32  // CLD_* of waitid(2), 0 while it runs
	ExecMainStatus int32  // exit code or signal, by ExecMainCode
	NRestarts      uint32 // by Restart=

	StartedUSec uint64 // InactiveExitTimestamp
	ReadyUSec   uint64 // ActiveEnterTimestamp
	ExitedUSec  uint64 // ExecMainExitTimestamp
}

// gone reports whether systemd does not know the unit, or will forget it: an inactive unit
// without a job.
func (u Unit) gone() bool {
	return u.LoadState == "not-found" || (u.ActiveState == "inactive" && u.JobID == 0)
}

// clone returns a copy that shares no memory with u.
func (u Unit) clone() Unit {
	u.Environment = slices.Clone(u.Environment)
	return u
}

// unitOf reads the properties of a unit. Those that are missing or have an unexpected type
// stay zero.
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
	c.cache.store(r, u, time.Now())
	return u, nil
}

// ResetFailed makes systemd forget a failed unit. It leaves other units alone.
func (c *Conn) ResetFailed(ctx context.Context, name string) error {
	_, err := c.retry(ctx, managerPath, managerMethod+"ResetFailedUnit", name)
	c.cache.touch(unitPath(name))
	return err
}

// row is a unit in the reply of ListUnitsByPatterns.
type row struct {
	name, load, active, sub string
	path                    dbus.ObjectPath
	job                     uint32
}

// List returns the units whose names match the pattern (glob(7)), sorted by name, without
// those for which Get returns ErrNoSuchUnit. It reads all states, and the details only of
// units that have changed since they were last read.
func (c *Conn) List(ctx context.Context, pattern string) ([]Unit, error) {
	rows, err := c.listing(ctx, pattern)
	if err != nil {
		return nil, err
	}
	c.cache.expire(time.Now())
	units := make([]Unit, 0, len(rows))
	var unknown []string
	for _, row := range rows {
		switch u, ok := c.cache.lookup(row); {
		case Unit{LoadState: row.load, ActiveState: row.active, JobID: row.job}.gone():
		case ok:
			units = append(units, u)
		default:
			unknown = append(unknown, row.name)
		}
	}
	read, err := c.readAll(ctx, unknown)
	if err != nil {
		return nil, err
	}
	units = append(units, read...)
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	return units, nil
}

// readAll reads units concurrently, without those that are gone by now.
func (c *Conn) readAll(ctx context.Context, names []string) ([]Unit, error) {
	units := make([]Unit, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.config.MaxInFlight)
	for i, name := range names {
		group.Go(func() error {
			u, err := c.Get(ctx, name)
			if errors.Is(err, ErrNoSuchUnit) {
				return nil
			}
			units[i] = u
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(units, func(u Unit) bool { return u.Name == "" }), err
}

func (c *Conn) listing(ctx context.Context, pattern string) ([]row, error) {
	body, err := c.retry(ctx, managerPath, managerMethod+"ListUnitsByPatterns", []string{}, []string{pattern})
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, fmt.Errorf("list units %s: empty reply", pattern)
	}
	list, ok := body[0].([][]any)
	if !ok {
		return nil, fmt.Errorf("list units %s: reply is a %T", pattern, body[0])
	}
	rows := make([]row, len(list))
	for i, fields := range list {
		r := &rows[i]
		var description, following, jobType string
		var job dbus.ObjectPath
		if err := dbus.Store(fields, &r.name, &description, &r.load, &r.active, &r.sub,
			&following, &r.path, &r.job, &jobType, &job); err != nil {
			return nil, fmt.Errorf("list units %s: %w", pattern, err)
		}
	}
	return rows, nil
}
