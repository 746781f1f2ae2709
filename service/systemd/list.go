package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/errgroup"
)

// row is what ListUnitsByPatterns says of a unit.
type row struct {
	name, load, active, sub string
	path                    dbus.ObjectPath
	job                     uint32
}

// List reads the units whose names match the pattern, of glob(7), sorted by name.
// It leaves out those that Get calls ErrNoSuchUnit. The states are read now; the
// details are read now only of units that changed since they were last read.
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
		case row.gone():
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

// gone is Unit.gone for a row.
func (r row) gone() bool {
	return Unit{LoadState: r.load, ActiveState: r.active, JobID: r.job}.gone()
}

// readAll reads units side by side, and leaves out those that are gone by now.
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
	rows := make([]row, 0, len(list))
	for _, fields := range list {
		r, err := rowOf(fields)
		if err != nil {
			return nil, fmt.Errorf("list units %s: %w", pattern, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// rowOf reads the fields (name, description, load, active and sub state, followed
// unit, object, job number, job type, job object).
func rowOf(fields []any) (row, error) {
	var r row
	var description, following, jobType string
	var job dbus.ObjectPath
	err := dbus.Store(fields, &r.name, &description, &r.load, &r.active, &r.sub,
		&following, &r.path, &r.job, &jobType, &job)
	return r, err
}
