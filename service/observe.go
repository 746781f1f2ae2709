package service

import (
	"context"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// observePause is the time between two looks at units. systemd announces some
	// ten changes in the course of one start; to read the unit each time would be
	// its work and ours for nothing.
	observePause = 50 * time.Millisecond
	// observeSettle is the time between a change and the look. Who waits for the job
	// of a start reads the unit at once: a look that comes later finds in package
	// systemd's cache what was read, and does not hold that one up.
	observeSettle = 10 * time.Millisecond
	// observeRetry is the time until the next try after a look that failed.
	observeRetry = time.Second
	// observeTimeout bounds one look. systemd's own bound of a call is less.
	observeTimeout = time.Minute
	// observeSingly is how many units are listed one by one. A listing of all of
	// them costs about as much, and reads only what has changed.
	observeSingly = 16
	// sweepUnit runs the removals that have failed so far, until they work.
	sweepUnit = "sidecar-clean.service"
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
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { c.sweep(ctx) })
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
		if all && c.Leftovers.HasLeftovers() { // their end may not have been seen
			c.askForSweep()
		}
		_ = pause(ctx, observePause)
		if changes.Wait(ctx) == nil && pause(ctx, observeSettle) == nil {
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
//
// Units are listed, not read by name: systemd loads a unit that it is asked for by
// name even if there is none, and announces that it goes again, so that a look at a
// unit that has gone would be the reason for the next look.
//
// A panic is an error of this look only: nobody else watches the units.
func (c *Core) look(ctx context.Context, names []string, all bool) (err error) {
	defer c.caught("a look at the units", &err)
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	ids := sidecarsAmong(names)
	if all || len(ids) > observeSingly {
		units, err := c.listed(ctx, interfaces.UnitPattern)
		if err == nil {
			c.events.all(units, c.sidecar)
			c.lookForLeftovers(ids, units)
		}
		return err
	}
	found := map[interfaces.ID]*systemd.Unit{}
	there := map[interfaces.ID]systemd.Unit{}
	for _, id := range ids {
		units, err := c.listed(ctx, id.Unit())
		if err != nil {
			return err
		}
		found[id] = nil
		if u, ok := units[id]; ok {
			found[id], there[id] = &u, u
		}
	}
	c.events.some(found, c.sidecar)
	c.lookForLeftovers(ids, there)
	return nil
}

// listed returns the sidecars among the units that match the pattern.
func (c *Core) listed(ctx context.Context, pattern string) (map[interfaces.ID]systemd.Unit, error) {
	listed, err := c.listUnits(ctx, "", pattern)
	units := map[interfaces.ID]systemd.Unit{}
	for _, u := range listed {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			units[id] = u
		}
	}
	return units, err
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

// lookForLeftovers asks for a sweep if the removal of a sidecar that has ended has not
// worked. sidecar-launch starts one itself when a removal fails, but not if it is killed.
// There need not be an event about the end: the sidecar may have begun and ended between
// two looks.
func (c *Core) lookForLeftovers(changed []interfaces.ID, there map[interfaces.ID]systemd.Unit) {
	for _, id := range changed {
		u, ok := there[id]
		if ok && stateOf(u) != interfaces.StateFailed || !c.Leftovers.HasLeftover(id.String()) {
			continue
		}
		c.Logger.Warn("a container could not be removed yet; sidecar-clean.service tries again until it can", "sidecar", id.String())
		c.askForSweep()
	}
}

// sweep starts sidecar-clean.service when it is asked for, and tries until it can.
func (c *Core) sweep(ctx context.Context) {
	for {
		select {
		case <-c.sweepDue:
		case <-ctx.Done():
			return
		}
		for wait := observeRetry; ; wait = min(2*wait, observeTimeout) {
			err := c.Units.Trigger(ctx, sweepUnit)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.Logger.Warn("cannot have containers removed that are left", "error", err, "again_in", wait)
			_ = pause(ctx, wait)
		}
	}
}

// askForSweep asks once, however often it is called before the sweep is started.
func (c *Core) askForSweep() {
	select {
	case c.sweepDue <- struct{}{}:
	default:
	}
}
