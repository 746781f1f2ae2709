package dbusserver

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// announced are the sidecars in their state of the last signal.
type announced struct {
	mu       sync.Mutex
	sidecars map[string]interfaces.Sidecar // by ID
}

// ids are the sorted IDs.
func (a *announced) ids() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.sidecars))
}

// publisher turns events into signals.
type publisher struct {
	announced *announced
	emit      func(path godbus.ObjectPath, iface, member string, body ...any) error

	// missing are the announced sidecars that the current state does not have so far;
	// nil between two states.
	missing map[string]bool
}

// publish emits the signals of a connection, the state first: without a bus, nothing was
// announced.
func (s *Server) publish(l *link) {
	events := s.config.Subscribe()
	defer events.Close()
	s.announced.mu.Lock()
	s.announced.sidecars = map[string]interfaces.Sidecar{}
	s.announced.mu.Unlock()
	p := &publisher{announced: &s.announced, emit: func(path godbus.ObjectPath, iface, member string, body ...any) error {
		return l.conn.Emit(path, iface+"."+member, body...)
	}}
	p.begin()
	for {
		event, err := events.Next(l.ctx)
		if err == nil {
			err = p.tell(event)
		}
		if err != nil && l.ctx.Err() == nil {
			s.config.Logger.Warn("signals cannot be sent", "error", err)
			_ = l.conn.Close() // tells the readers of signals
		}
		if err != nil {
			return
		}
	}
}

// begin begins a state.
func (p *publisher) begin() {
	p.missing = map[string]bool{}
	for _, id := range p.announced.ids() {
		p.missing[id] = true
	}
}

// tell emits the signals of an event.
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

// synchronized removes the sidecars that the state did not have.
func (p *publisher) synchronized() error {
	for _, id := range slices.Sorted(maps.Keys(p.missing)) {
		if err := p.remove(id); err != nil {
			return err
		}
	}
	p.missing = nil
	return nil
}

// update announces a sidecar that exists.
func (p *publisher) update(kind interfaces.EventKind, now interfaces.Sidecar) error {
	p.announced.mu.Lock()
	before, exists := p.announced.sidecars[now.ID]
	p.announced.sidecars[now.ID] = now
	p.announced.mu.Unlock()
	var err error
	if exists {
		err = p.propertiesChanged(before, now)
	} else {
		err = p.emit(interfaces.ManagerPath, managerInterface, "InterfacesAdded", pathOf(now.ID),
			map[string]map[string]godbus.Variant{interfaces.SidecarInterface: public(now)})
	}
	member := members[kind]
	if kind == interfaces.EventPresent && exists && !reflect.DeepEqual(before, now) {
		member = signalChanged // the events in between were dropped
	}
	if err != nil || member == "" {
		return err
	}
	return p.emitAbout(member, now.ID, string(now.Runtime.State))
}

// members are the manager's signals for events of sidecars that exist.
var members = map[interfaces.EventKind]string{
	interfaces.EventStarted: signalStarted,
	interfaces.EventReady:   signalReady,
	interfaces.EventChanged: signalChanged,
	interfaces.EventFailed:  signalFailed,

	interfaces.EventRestarting: signalRestarting,
}

// remove announces that a sidecar does not exist any more.
func (p *publisher) remove(id string) error {
	p.announced.mu.Lock()
	_, existed := p.announced.sidecars[id]
	delete(p.announced.sidecars, id)
	p.announced.mu.Unlock()
	if !existed {
		return nil
	}
	if err := p.emitAbout(signalStopped, id, ""); err != nil {
		return err
	}
	return p.emit(interfaces.ManagerPath, managerInterface, "InterfacesRemoved", pathOf(id),
		[]string{interfaces.SidecarInterface})
}

// propertiesChanged emits the new state, and the names of other properties that have
// changed.
func (p *publisher) propertiesChanged(before, now interfaces.Sidecar) error {
	old, changed := dict.Encode(before), dict.Encode(now)
	values := map[string]godbus.Variant{}
	invalidated := []string{}
	for _, property := range sidecarProperties() {
		was, had := old[property.name]
		is, has := changed[property.name]
		switch {
		case had == has && reflect.DeepEqual(was.Value(), is.Value()):
		case property.emits == emitsValue:
			values[property.name] = is
		default:
			invalidated = append(invalidated, property.name)
		}
	}
	if len(values) == 0 && len(invalidated) == 0 {
		return nil
	}
	return p.emit(pathOf(now.ID), propertiesInterface, "PropertiesChanged", interfaces.SidecarInterface, values, invalidated)
}

// public are the properties that everybody on the bus may read in signals.
func public(s interfaces.Sidecar) map[string]godbus.Variant {
	return map[string]godbus.Variant{
		keyID:    godbus.MakeVariant(s.ID),
		keyState: godbus.MakeVariant(string(s.Runtime.State)),
	}
}

func (p *publisher) emitAbout(member, id, state string) error {
	return p.emit(interfaces.ManagerPath, interfaces.ManagerInterface, member, id, pathOf(id), state)
}
