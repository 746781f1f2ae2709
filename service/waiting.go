package service

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/records"
	"tripleo.io/sidecar/service/systemd"
)

// stateWaiting is the ActiveState of the unit that a sidecar would have that waits to come back.
const stateWaiting = "waiting"

// returner is a sidecar that is to come back.
type returner struct {
	id     interfaces.ID
	record records.Record
	unit   systemd.Unit // that List, Monitor and D-Bus show
	place  int          // among its agent's, from 1
	until  time.Time    // then it is given up
	next   time.Time    // of the next attempt; of whoever has made it busy
	busy   atomic.Bool  // an attempt is under way
}

// returning knows which sidecars have records, and which of them wait to come back.
type returning struct {
	mu       sync.Mutex
	recorded map[interfaces.ID]bool
	waiting  map[interfaces.ID]*returner
}

func (r *returning) has(id interfaces.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recorded[id]
}

func (r *returning) waits(id interfaces.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting[id] != nil
}

// add notes that a sidecar has a record; w is nil unless it waits.
func (r *returning) add(id interfaces.ID, w *returner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorded == nil {
		r.recorded, r.waiting = map[interfaces.ID]bool{}, map[interfaces.ID]*returner{}
	}
	r.recorded[id] = true
	if w != nil {
		r.waiting[id] = w
	}
}

func (r *returning) remove(id interfaces.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.recorded, id)
}

// all returns the sidecars that wait, in the order of their IDs.
func (r *returning) all() []*returner {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.waiting), func(a, b *returner) int { return a.id.Compare(b.id) })
}

// started returns the sidecars that have records and do not wait.
func (r *returning) started() []interfaces.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(r.recorded)), func(id interfaces.ID) bool { return r.waiting[id] != nil })
}

// endWait ends the wait of a sidecar, if it waits, and has it looked at.
func (c *Core) endWait(id interfaces.ID) {
	c.returning.mu.Lock()
	waited := c.returning.waiting[id] != nil
	delete(c.returning.waiting, id)
	c.returning.mu.Unlock()
	if waited {
		c.Units.Announce(id.Unit())
	}
}

// withWaiting adds the sidecars that wait to the units of a list with this pattern.
func (c *Core) withWaiting(units []systemd.Unit, pattern string) []systemd.Unit {
	all := c.returning.all()
	if len(all) == 0 {
		return units
	}
	names := map[string]bool{}
	for _, u := range units {
		names[u.Name] = true
	}
	for _, w := range all {
		if matches, _ := path.Match(pattern, w.unit.Name); matches && !names[w.unit.Name] { // as fnmatch(3), without '/'
			units = append(units, w.unit)
		}
	}
	return units
}

// getOrWaiting reads a unit, or returns the one of a sidecar that waits.
func (c *Core) getOrWaiting(ctx context.Context, id interfaces.ID) (systemd.Unit, error) {
	unit, err := c.Units.Get(ctx, id.Unit())
	if errors.Is(err, systemd.ErrNoSuchUnit) {
		c.returning.mu.Lock()
		defer c.returning.mu.Unlock()
		if w := c.returning.waiting[id]; w != nil {
			return w.unit, nil
		}
	}
	return unit, err
}

func (c *Core) newReturner(id interfaces.ID, r records.Record, place int) *returner {
	w := &returner{id: id, record: r, place: place, until: time.Now()}
	if profile, ok := c.policy.Load().Profile(id.Profile); ok {
		w.until = w.until.Add(profile.RestoreTimeout)
	}
	podman, _ := engine.Of(interfaces.EnginePodman)
	w.unit = systemd.Unit{
		Name: id.Unit(), ActiveState: stateWaiting,
		Digest: &unitDocument{ok: true, context: r.Context, engine: podman, waitsUntil: w.until.UnixMicro()},
	}
	return w
}
