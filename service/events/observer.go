// Package events turns changes of units into the events of Monitor and of the D-Bus
// signals. An [Observer] reads the units that have changed, compares them with what it
// read before, and queues the differences for each [Subscription].
//
// Out of scope: who may see which sidecar. The core decides that.
package events

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// MaxQueue is how many events wait for a subscriber, beside the state that it is
	// sent first.
	MaxQueue = 512
	// MaxPerReader is how many subscriptions one reader may have: fewer than its
	// connections, so that it can still call.
	MaxPerReader = 16
	// RetryPause is the time until the next look after one that failed.
	RetryPause = time.Second

	// lookPause is the time between two looks at units: systemd announces some ten
	// changes in the course of one start.
	lookPause = 50 * time.Millisecond
	// settlePause is the time between a change and the look. The call that waits for a
	// start job reads the unit first, and the look finds it in package systemd's cache.
	settlePause = 10 * time.Millisecond
	// lookTimeout bounds one look. systemd's own bound of a call is less.
	lookTimeout = time.Minute
	// maxSingle is how many units are listed one by one. A listing of all units costs
	// about as much, and reads only what has changed.
	maxSingle = 16
)

// Units is what an Observer needs to know about units.
type Units interface {
	// Changes announces units that may have changed.
	Changes() *systemd.Changes
	// List reads all units whose names match the pattern.
	List(ctx context.Context, pattern string) ([]systemd.Unit, error)
	// Sidecar describes the unit of a sidecar.
	Sidecar(u systemd.Unit) interfaces.Sidecar
	// Looked follows each look that succeeded. ended are the sidecars that were announced
	// and have failed or do not exist any more; all says that other changes may have been
	// missed, so that all units were read.
	Looked(ended []interfaces.ID, all bool)
	// Restarted is told how many more restarts systemd counts of a sidecar. It must return at
	// once.
	Restarted(id interfaces.ID, times int64)
}

// Observer knows every sidecar as it was last read, and tells each subscriber what has
// changed. Use New.
type Observer struct {
	units  Units
	logger *slog.Logger

	mu          sync.Mutex
	changes     *systemd.Changes // nil before Run
	looks, done int              // how many looks have begun, and the last one that is over
	synced      bool             // known is the result of that look
	known       map[interfaces.ID]seen
	overruns    uint64 // how often a subscriber has lost its events
	subscribers map[*Subscription]struct{}
}

// seen is a sidecar as it was last read. Both are read-only.
type seen struct {
	unit    systemd.Unit
	sidecar *interfaces.Sidecar
}

// New returns an Observer of units.
func New(units Units, logger *slog.Logger) *Observer {
	return &Observer{
		units: units, logger: logger,
		known: map[interfaces.ID]seen{}, subscribers: map[*Subscription]struct{}{},
	}
}

// Run reads units as they change, until ctx ends. It must run once.
func (o *Observer) Run(ctx context.Context) {
	changes := o.units.Changes()
	defer changes.Close()
	all := true // nothing is known yet
	for ctx.Err() == nil {
		if err := o.look(ctx, changes, all); err != nil {
			if ctx.Err() == nil {
				o.logger.Warn("events: cannot read the units", "error", err, "again_in", RetryPause)
			}
			_ = retry.Pause(ctx, RetryPause)
			all = true
			continue
		}
		all = false
		_ = retry.Pause(ctx, lookPause)
		if changes.Wait(ctx) == nil {
			_ = retry.Pause(ctx, settlePause)
		}
	}
}

// look reads all units, or the changed ones, and tells subscribers the differences. A panic
// is an error of this look only: nobody else watches the units.
func (o *Observer) look(ctx context.Context, changes *systemd.Changes, all bool) (err error) {
	defer func() {
		if value := recover(); value != nil {
			o.logger.Error("panic", "in", "a look at the units", "panic", value, "stack", string(debug.Stack()))
			err = interfaces.Unexpected()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	ids, all := o.begin(changes, all)
	whole := all || len(ids) > maxSingle
	units, err := o.list(ctx, ids, whole)
	if err != nil {
		return err
	}
	o.units.Looked(o.update(ids, units, whole), all)
	return nil
}

// begin returns the sidecars whose units have changed, and whether all units must be read.
// Subscribe finds each change either pending or in a look that has begun.
func (o *Observer) begin(changes *systemd.Changes, all bool) ([]interfaces.ID, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changes = changes
	o.looks++
	names, missed := changes.Take()
	all = all || missed
	if all {
		o.synced = false
	}
	var ids []interfaces.ID
	for _, name := range names { // units of any kind and owner
		if id, ok := interfaces.ParseUnit(name); ok {
			ids = append(ids, id)
		}
	}
	return ids, all
}

// list reads the units of these sidecars, or of all. It lists them by pattern: systemd
// loads a unit that is read by name even if the unit does not exist, and announces it as
// a change, which would be the reason for the next look.
func (o *Observer) list(ctx context.Context, ids []interfaces.ID, whole bool) (map[interfaces.ID]systemd.Unit, error) {
	patterns := []string{interfaces.UnitPattern}
	if !whole {
		patterns = nil
		for _, id := range ids {
			patterns = append(patterns, id.Unit())
		}
	}
	units := map[interfaces.ID]systemd.Unit{}
	for _, pattern := range patterns {
		listed, err := o.units.List(ctx, pattern)
		if err != nil {
			return nil, err
		}
		for _, u := range listed {
			if id, ok := interfaces.ParseUnit(u.Name); ok {
				units[id] = u
			}
		}
	}
	return units, nil
}

// update takes the units that a look has read, of all sidecars (whole) or of ids. It returns
// the IDs among ids whose sidecars have ended.
func (o *Observer) update(ids []interfaces.ID, units map[interfaces.ID]systemd.Unit, whole bool) []interfaces.ID {
	o.mu.Lock()
	defer o.mu.Unlock()
	looked := ids
	if whole {
		looked = sorted(o.known)
	}
	for _, id := range looked {
		if _, ok := units[id]; !ok {
			o.tell(id, seen{})
		}
	}
	for _, id := range sorted(units) {
		o.see(id, units[id])
	}
	o.synced, o.done = true, o.looks
	for s := range o.subscribers {
		if s.stale {
			s.poke()
		}
	}
	return slices.DeleteFunc(ids, func(id interfaces.ID) bool {
		s := o.known[id].sidecar
		return s != nil && s.Runtime.State != interfaces.StateFailed
	})
}

// Refresh describes all known units again, because the policy has changed.
func (o *Observer) Refresh() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range sorted(o.known) {
		o.see(id, o.known[id].unit)
	}
}

// see describes a unit and tells the differences. o.mu must be held.
func (o *Observer) see(id interfaces.ID, u systemd.Unit) {
	sidecar := o.units.Sidecar(u)
	o.tell(id, seen{u, &sidecar})
}

// tell sends all subscribers the difference to now. o.mu must be held.
func (o *Observer) tell(id interfaces.ID, now seen) {
	name, before := id.String(), o.known[id].sidecar
	if times := restartsBetween(before, now.sidecar); times > 0 {
		o.units.Restarted(id, times)
	}
	for _, kind := range transition(before, now.sidecar) {
		event := interfaces.Event{Kind: kind, ID: &name, Sidecar: now.sidecar}
		if kind == interfaces.EventStopped {
			event.Sidecar = nil
		}
		for s := range o.subscribers {
			if s.wants(id) {
				s.offer(event)
			}
		}
	}
	if now.sidecar == nil {
		delete(o.known, id)
	} else {
		o.known[id] = now
	}
}

// Subscribe begins a stream of the events that are wanted. Its state is no older than the
// call: changes that were announced before are looked at first. The error is
// interfaces.ErrOverloaded if the reader has MaxPerReader subscriptions already; the
// reader "" has no limit. The subscription must be closed.
func (o *Observer) Subscribe(reader string, wants func(interfaces.ID) bool) (*Subscription, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	open := 0
	for s := range o.subscribers {
		if s.reader == reader {
			open++
		}
	}
	if reader != "" && open >= MaxPerReader {
		return nil, &interfaces.OverloadedError{Reason: fmt.Sprintf("%s has %d monitors already", reader, MaxPerReader)}
	}
	s := &Subscription{source: o, reader: reader, wants: wants, wake: make(chan struct{}, 1), stale: true, since: o.looks}
	if o.changes != nil && o.changes.Pending() {
		s.since++
	}
	o.subscribers[s] = struct{}{}
	return s, nil
}

// Known returns all sidecars as they were last read, and whether that is their present state.
func (o *Observer) Known() (sidecars map[interfaces.ID]*interfaces.Sidecar, synced bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sidecars = make(map[interfaces.ID]*interfaces.Sidecar, len(o.known))
	for id, s := range o.known {
		sidecars[id] = s.sidecar
	}
	return sidecars, o.synced
}

// Overruns returns how often a subscriber that fell behind has lost its events.
func (o *Observer) Overruns() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.overruns
}

// Alive returns when the Observer's lock can be had, for a watchdog.
func (o *Observer) Alive() {
	o.mu.Lock()
	o.mu.Unlock() //nolint:staticcheck // only whether the lock can be had matters
}

func sorted[V any](m map[interfaces.ID]V) []interfaces.ID {
	return slices.SortedFunc(maps.Keys(m), interfaces.ID.Compare)
}
