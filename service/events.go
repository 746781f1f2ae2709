package service

import (
	"maps"
	"slices"
	"sync"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// maxQueue is how many events wait for a subscriber, beside the state that it is
// sent first. More of them happen at once when whole agents end; a fresh state says
// as much.
const maxQueue = 512

// events turn what is read of units into events. They know every sidecar as it was
// last seen, and tell each subscriber what is different. The zero value is ready.
type events struct {
	mu          sync.Mutex
	pending     func() bool // of changes that are announced and not looked at; nil before Observe
	looks, done int         // how many looks at the units began, and the last of them that is over
	synced      bool        // known is what there was at that look
	known       map[interfaces.ID]seen
	subscribers map[*Subscription]struct{}
}

// seen is a sidecar as it was last seen. Neither is changed any more.
type seen struct {
	unit    systemd.Unit
	sidecar *interfaces.Sidecar
}

// watch says how to know that changes wait to be looked at, and begins the first
// look.
func (e *events) watch(pending func() bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = pending
	e.looks++
}

// begin begins a look at the units that fetch names, all of them or some. Fetching
// must not wait: whoever subscribes must find a change to be either pending or
// looked at.
func (e *events) begin(fetch func() (names []string, all bool)) (names []string, all bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks++
	return fetch()
}

// outdate says that what is known may be wrong.
func (e *events) outdate() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.synced = false
}

// end says that the look is over. e.mu must be held.
func (e *events) end() {
	e.done = e.looks
	for s := range e.subscribers {
		if s.stale {
			s.poke()
		}
	}
}

// all takes what there is. What was known and is not there is gone.
func (e *events) all(units map[interfaces.ID]systemd.Unit, view func(systemd.Unit) interfaces.Sidecar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.ids() {
		if _, ok := units[id]; !ok {
			e.tell(id, seen{})
		}
	}
	for _, id := range sorted(units) {
		e.see(id, units[id], view)
	}
	e.synced = true
	e.end()
}

// some takes some sidecars; nil is one that is not there.
func (e *events) some(units map[interfaces.ID]*systemd.Unit, view func(systemd.Unit) interfaces.Sidecar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range sorted(units) {
		if u := units[id]; u != nil {
			e.see(id, *u, view)
		} else {
			e.tell(id, seen{})
		}
	}
	e.end()
}

// again looks at the same units in another way: the policy is another one.
func (e *events) again(view func(systemd.Unit) interfaces.Sidecar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.ids() {
		e.see(id, e.known[id].unit, view)
	}
}

func (e *events) see(id interfaces.ID, u systemd.Unit, view func(systemd.Unit) interfaces.Sidecar) {
	sidecar := view(u)
	e.tell(id, seen{unit: u, sidecar: &sidecar})
}

// tell tells everybody what is different. e.mu must be held.
func (e *events) tell(id interfaces.ID, now seen) {
	name := id.String()
	for _, kind := range transition(e.known[id].sidecar, now.sidecar) {
		event := interfaces.Event{Kind: kind, ID: &name, Sidecar: now.sidecar}
		if kind == interfaces.EventStopped {
			event.Sidecar = nil
		}
		for s := range e.subscribers {
			if s.wants(id) {
				s.offer(event)
			}
		}
	}
	if now.sidecar == nil {
		delete(e.known, id)
		return
	}
	if e.known == nil {
		e.known = map[interfaces.ID]seen{}
	}
	e.known[id] = now
}

// ids returns what is known, in order. e.mu must be held.
func (e *events) ids() []interfaces.ID { return sorted(e.known) }

func sorted[V any](m map[interfaces.ID]V) []interfaces.ID {
	return slices.SortedFunc(maps.Keys(m), interfaces.ID.Compare)
}

// subscribe begins a stream. Its state is no older than the call: what has been
// announced already is looked at first.
func (e *events) subscribe(wants func(interfaces.ID) bool) *Subscription {
	s := &Subscription{source: e, wants: wants, wake: make(chan struct{}, 1), stale: true}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.subscribers == nil {
		e.subscribers = map[*Subscription]struct{}{}
	}
	e.subscribers[s] = struct{}{}
	s.since = e.looks
	if e.pending != nil && e.pending() {
		s.since++
	}
	return s
}
