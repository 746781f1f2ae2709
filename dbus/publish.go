package dbus

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// known are the sidecars as the signals have told them.
type known struct {
	mu       sync.Mutex
	sidecars map[string]interfaces.Sidecar // by ID
}

// publisher turns events into signals.
type publisher struct {
	known *known
	emit  func(path godbus.ObjectPath, iface, member string, body ...any) error

	// missing are what was known and is not yet part of the state that is being
	// sent; nil while none is.
	missing map[string]bool
}

// publish emits the signals of a connection, the state first: what happened while
// there was no bus nobody was told.
func (s *Server) publish(l *link) {
	events := s.subscribe()
	defer events.Close()
	s.known.mu.Lock()
	s.known.sidecars = map[string]interfaces.Sidecar{}
	s.known.mu.Unlock()
	p := &publisher{known: &s.known, emit: func(path godbus.ObjectPath, iface, member string, body ...any) error {
		return l.conn.Emit(path, iface+"."+member, body...)
	}}
	p.begin()
	for {
		event, err := events.Next(l.ctx)
		if err == nil {
			err = p.tell(event)
		}
		if err != nil {
			// Who reads signals must not think that all is well.
			l.server.publishFailed(l, err)
			return
		}
	}
}

func (s *Server) publishFailed(l *link, err error) {
	if l.ctx.Err() == nil {
		s.logger.Warn("signals cannot be sent", "error", err)
		_ = l.conn.Close()
	}
}

// begin begins a state.
func (p *publisher) begin() {
	p.known.mu.Lock()
	defer p.known.mu.Unlock()
	p.missing = map[string]bool{}
	for id := range p.known.sidecars {
		p.missing[id] = true
	}
}

// tell emits what an event means on the bus.
func (p *publisher) tell(e interfaces.Event) error {
	switch e.Kind {
	case interfaces.EventOverrun:
		p.begin()
		return nil
	case interfaces.EventSynchronized:
		return p.synchronized()
	}
	if e.ID == nil {
		return nil
	}
	delete(p.missing, *e.ID)
	if e.Sidecar == nil {
		return p.remove(*e.ID)
	}
	return p.update(e.Kind, *e.Sidecar)
}

// synchronized removes what the state did not have.
func (p *publisher) synchronized() error {
	for _, id := range slices.Sorted(maps.Keys(p.missing)) {
		if err := p.remove(id); err != nil {
			return err
		}
	}
	p.missing = nil
	return nil
}

// update tells of a sidecar that is there.
func (p *publisher) update(kind interfaces.EventKind, now interfaces.Sidecar) error {
	before, there := p.set(now)
	var err error
	if there {
		err = p.propertiesChanged(before, now)
	} else {
		err = p.emit(interfaces.ManagerPath, managerInterface, "InterfacesAdded", pathOf(now.ID),
			map[string]map[string]godbus.Variant{interfaces.SidecarInterface: public(now)})
	}
	member := members[kind]
	if kind == interfaces.EventPresent && there && !reflect.DeepEqual(before, now) {
		member = signalChanged // what happened in between was dropped
	}
	if err != nil || member == "" {
		return err
	}
	return p.emitAbout(member, now.ID, string(now.Runtime.State))
}

// members are the signals of the manager for events of sidecars that are there.
var members = map[interfaces.EventKind]string{
	interfaces.EventStarted: signalStarted,
	interfaces.EventReady:   signalReady,
	interfaces.EventChanged: signalChanged,
	interfaces.EventFailed:  signalFailed,
}

// remove tells of a sidecar that is gone.
func (p *publisher) remove(id string) error {
	p.known.mu.Lock()
	_, there := p.known.sidecars[id]
	delete(p.known.sidecars, id)
	p.known.mu.Unlock()
	if !there {
		return nil
	}
	if err := p.emitAbout(signalStopped, id, ""); err != nil {
		return err
	}
	return p.emit(interfaces.ManagerPath, managerInterface, "InterfacesRemoved", pathOf(id),
		[]string{interfaces.SidecarInterface})
}

func (p *publisher) set(now interfaces.Sidecar) (before interfaces.Sidecar, there bool) {
	p.known.mu.Lock()
	defer p.known.mu.Unlock()
	before, there = p.known.sidecars[now.ID]
	p.known.sidecars[now.ID] = now
	return before, there
}

// propertiesChanged tells the new state, and which other properties have changed,
// but not into what.
func (p *publisher) propertiesChanged(before, now interfaces.Sidecar) error {
	old, changed := dict.Encode(before), dict.Encode(now)
	told := map[string]godbus.Variant{}
	invalidated := []string{}
	for _, property := range sidecarProperties() {
		was, had := old[property.name]
		is, has := changed[property.name]
		switch {
		case had == has && reflect.DeepEqual(was.Value(), is.Value()):
		case property.emits == emitsValue:
			told[property.name] = is
		default:
			invalidated = append(invalidated, property.name)
		}
	}
	if len(told) == 0 && len(invalidated) == 0 {
		return nil
	}
	return p.emit(pathOf(now.ID), propertiesInterface, "PropertiesChanged", interfaces.SidecarInterface, told, invalidated)
}

// public is what everybody on the bus may know of a sidecar.
func public(s interfaces.Sidecar) map[string]godbus.Variant {
	all := dict.Encode(s)
	return map[string]godbus.Variant{keyID: all[keyID], keyState: all[keyState]}
}

func (p *publisher) emitAbout(member, id, state string) error {
	return p.emit(interfaces.ManagerPath, interfaces.ManagerInterface, member, id, pathOf(id), state)
}
