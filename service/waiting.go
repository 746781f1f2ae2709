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

// stateWaiting is the ActiveState of a waiting sidecar's unit, which only List, Monitor and D-Bus
// show: systemd does not have it.
const stateWaiting = "waiting"

// waitingSidecar is a sidecar that waits to come back.
type waitingSidecar struct {
	id     interfaces.ID
	record records.Record
	unit   systemd.Unit // that List, Monitor and D-Bus show
	place  int          // among its agent's, from 1
	until  time.Time    // then it is given up
	next   time.Time    // of the next attempt; of whoever has made it busy
	busy   atomic.Bool  // an attempt is under way
}

// recorded knows which sidecars have records, and which of them wait to come back.
type recorded struct {
	mu      sync.Mutex
	ids     map[interfaces.ID]bool
	waiting map[interfaces.ID]*waitingSidecar
}

func (r *recorded) has(id interfaces.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id]
}

func (r *recorded) waits(id interfaces.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting[id] != nil
}

// add notes that a sidecar has a record; w is nil unless it waits.
func (r *recorded) add(id interfaces.ID, w *waitingSidecar) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids, r.waiting = map[interfaces.ID]bool{}, map[interfaces.ID]*waitingSidecar{}
	}
	r.ids[id] = true
	if w != nil {
		r.waiting[id] = w
	}
}

func (r *recorded) remove(id interfaces.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

// allWaiting returns the sidecars that wait, in the order of their IDs.
func (r *recorded) allWaiting() []*waitingSidecar {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.waiting), func(a, b *waitingSidecar) int { return a.id.Compare(b.id) })
}

// started returns the sidecars that have records and do not wait.
func (r *recorded) started() []interfaces.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(r.ids)), func(id interfaces.ID) bool { return r.waiting[id] != nil })
}

// endWait ends the wait of a sidecar, if it waits, and has it looked at.
func (c *Core) endWait(id interfaces.ID) {
	c.recorded.mu.Lock()
	waited := c.recorded.waiting[id] != nil
	delete(c.recorded.waiting, id)
	c.recorded.mu.Unlock()
	if waited {
		c.Units.Announce(id.Unit())
	}
}

// withWaiting adds the sidecars that wait to the units of a list with this pattern.
func (c *Core) withWaiting(units []systemd.Unit, pattern string) []systemd.Unit {
	all := c.recorded.allWaiting()
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
		c.recorded.mu.Lock()
		defer c.recorded.mu.Unlock()
		if w := c.recorded.waiting[id]; w != nil {
			return w.unit, nil
		}
	}
	return unit, err
}

// newWaiting returns a sidecar that waits from now on. place is its place among its agent's.
func (c *Core) newWaiting(id interfaces.ID, r records.Record, place int) *waitingSidecar {
	w := &waitingSidecar{id: id, record: r, place: place, until: time.Now()}
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
