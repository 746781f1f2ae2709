package service

import (
	"context"
	"errors"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// observePause is the time between two looks at units. systemd announces some
	// ten changes in the course of one start; to read the unit each time would be
	// its work and ours for nothing.
	observePause = 20 * time.Millisecond
	// observeRetry is the time until the next try after a look that failed.
	observeRetry = time.Second
	// observeTimeout bounds one look. systemd's own bound of a call is less.
	observeTimeout = time.Minute
	// observeSingly is how many units are read one by one; a listing costs about
	// as much as that, and reads only what has changed.
	observeSingly = 16
)

// Events subscribes to the events of all sidecars, for a transport that serves many
// callers; it must be closed. What it may show to whom is the transport's to see to.
// Events come only while Observe runs.
func (c *Core) Events() *Subscription {
	return c.events.subscribe(func(interfaces.ID) bool { return true })
}

// Observe watches the units and feeds Watch and Events, until ctx ends. It must run
// once.
func (c *Core) Observe(ctx context.Context) {
	changes := c.Units.Changes()
	defer changes.Close()
	c.events.watch(changes.Pending)
	var names []string
	all := true // nothing is known yet
	for ctx.Err() == nil {
		if all {
			c.events.outdate()
		}
		if err := c.look(ctx, names, all); err != nil {
			c.lookFailed(ctx, err)
			all = true
			continue
		}
		_ = pause(ctx, observePause)
		if changes.Wait(ctx) == nil {
			names, all = c.events.begin(changes.Take)
		}
	}
}

func (c *Core) lookFailed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		c.Logger.Warn("events: cannot read the units", "error", err, "again_in", observeRetry)
	}
	_ = pause(ctx, observeRetry)
}

// look reads all units, or those of these names, and tells what is different.
func (c *Core) look(ctx context.Context, names []string, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	ids := sidecarsAmong(names)
	if all || len(ids) > observeSingly {
		return c.lookAtAll(ctx)
	}
	units := map[interfaces.ID]*systemd.Unit{}
	for _, id := range ids {
		unit, err := c.Units.Get(ctx, id.Unit())
		switch {
		case errors.Is(err, systemd.ErrNoSuchUnit):
			units[id] = nil
			c.records.forget(id.Unit())
		case err != nil:
			return err
		default:
			units[id] = &unit
		}
	}
	c.events.some(units, c.sidecar)
	return nil
}

func (c *Core) lookAtAll(ctx context.Context) error {
	listed, err := c.listUnits(ctx, "", interfaces.UnitPattern)
	if err != nil {
		return err
	}
	units := map[interfaces.ID]systemd.Unit{}
	for _, u := range listed {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			units[id] = u
		}
	}
	c.events.all(units, c.sidecar)
	return nil
}

// sidecarsAmong returns the sidecars among units of any kind and owner.
func sidecarsAmong(names []string) []interfaces.ID {
	var ids []interfaces.ID
	for _, name := range names {
		if id, ok := interfaces.ParseUnit(name); ok {
			ids = append(ids, id)
		}
	}
	return ids
}
