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

// row is a unit in the reply of ListUnitsByPatterns.
type row struct {
	name, load, active, sub string
	path                    dbus.ObjectPath
	job                     uint32
}

// unit has what the listing says of the unit. Its strings are copies, as unitOf's.
func (r row) unit() Unit {
	return Unit{
		Name: strings.Clone(r.name), LoadState: shared(r.load), ActiveState: shared(r.active),
		SubState: shared(r.sub), JobID: r.job,
	}
}

// List returns the units whose names match the pattern (glob(7)), sorted by name, without
// those for which Get returns ErrNoSuchUnit. It reads all states, and the details only of
// units that have changed since they were last read. Unit says which fields it leaves out.
func (c *Conn) List(ctx context.Context, pattern string) ([]Unit, error) {
	changes := c.Changes()
	defer changes.Close()
	rows, err := c.listing(ctx, pattern)
	if err != nil {
		return nil, err
	}
	units, unknown := c.cache.find(rows, time.Now())
	if len(unknown) > maxOld {
		// Lists that come together would read the same units.
		select {
		case c.filling <- struct{}{}:
			defer func() { <-c.filling }()
		case <-ctx.Done():
			return nil, fmt.Errorf("list units %s: %w", pattern, ctx.Err())
		}
		units, unknown = c.cache.find(rows, time.Now())
	}
	read, err := c.readAll(ctx, unknown, changes)
	if err != nil {
		return nil, err
	}
	units = append(units, read...)
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	return units, nil
}

// readAll reads the units of a listing concurrently, without those that are gone by now.
// changes has been subscribed to before the listing: a unit that has not changed until all is
// read is as it was at one moment. Others are read again, as Get does.
func (c *Conn) readAll(ctx context.Context, rows []row, changes *Changes) ([]Unit, error) {
	units, readings := make([]Unit, len(rows)), make([]reading, len(rows))
	err := c.each(ctx, len(rows), func(ctx context.Context, i int) error {
		readings[i] = c.cache.begin(unitPath(rows[i].name))
		units[i] = c.readRunning(ctx, rows[i])
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	changed, all := changes.Take()
	err = c.each(ctx, len(rows), func(ctx context.Context, i int) error {
		if _, is := slices.BinarySearch(changed, rows[i].name); units[i].Name != "" && !is && !all {
			c.cache.store(readings[i], units[i], time.Now())
			return nil
		}
		u, err := c.Get(ctx, rows[i].name)
		units[i] = u.listed() // without a name if it is gone
		if errors.Is(err, ErrNoSuchUnit) {
			return nil
		}
		return err
	})
	return slices.DeleteFunc(units, func(u Unit) bool { return u.Name == "" }), err
}

// each calls f with 0 to n-1, MaxInFlight of them at once.
func (c *Conn) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.config.MaxInFlight)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// details are the properties that List reads of a unit that runs, by their interfaces. To
// answer all 400 properties of a unit takes systemd 1.5 ms, because some of them make it look
// at files, and these six together 0.1 ms (systemd 257).
var details = [][]any{
	{"org.freedesktop.systemd1.Unit", "InvocationID"},
	{"org.freedesktop.systemd1.Unit", "InactiveExitTimestamp"},
	{"org.freedesktop.systemd1.Unit", "ActiveEnterTimestamp"},
	{"org.freedesktop.systemd1.Service", "NRestarts"},
	{"org.freedesktop.systemd1.Service", "StatusText"},
	{"org.freedesktop.systemd1.Service", "Environment"},
}

// readRunning reads the details of a unit that runs, one after the other. It returns none for
// another unit, or if systemd or the bus refuses one: then the unit has changed or is not a
// service, or the bus is away, and Get knows what to do.
func (c *Conn) readRunning(ctx context.Context, row row) Unit {
	if !runs(row.active, row.sub) {
		return Unit{}
	}
	bodies, err := c.callTogether(ctx, row.path, "org.freedesktop.DBus.Properties.Get", details...)
	if err != nil {
		return Unit{}
	}
	u := row.unit()
	var invocation []byte
	var status string
	var environment []string
	for i, value := range []any{&invocation, &u.StartedUSec, &u.ReadyUSec, &u.NRestarts, &status, &environment} {
		if dbus.Store(bodies[i], value) != nil {
			return Unit{}
		}
	}
	u.InvocationID, u.StatusText = hex.EncodeToString(invocation), strings.Clone(status)
	c.digest(&u, environment)
	return u
}

// listing lists units, without those that are gone.
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
	rows := make([]row, 0, len(list))
	for _, fields := range list {
		var r row
		var description, following, jobType string
		var job dbus.ObjectPath
		if err := dbus.Store(fields, &r.name, &description, &r.load, &r.active, &r.sub,
			&following, &r.path, &r.job, &jobType, &job); err != nil {
			return nil, fmt.Errorf("list units %s: %w", pattern, err)
		}
		if !r.unit().gone() {
			rows = append(rows, r)
		}
	}
	return rows, nil
}
