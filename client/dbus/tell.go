package dbus

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// tell tells what signals mean. Those that say nothing beyond the state that was
// just told are older than it.
func (m *monitor) tell(ctx context.Context, heard []signal, told map[string]interfaces.Sidecar) error {
	now, err := m.ask(ctx, heard)
	if err != nil {
		return err
	}
	for _, s := range heard {
		e, ok := eventOf(s, now)
		if !ok || told != nil && now != nil && same(told, now, s.id) {
			continue
		}
		if !m.take(e) {
			return errLeft
		}
	}
	return nil
}

// same reports whether two states say the same of a sidecar.
func same(a, b map[string]interfaces.Sidecar, id string) bool {
	one, inOne := a[id]
	other, inOther := b[id]
	return inOne == inOther && reflect.DeepEqual(one, other)
}

// selected are the signals about sidecars that the selectors match.
func (m *monitor) selected(heard []signal) []signal {
	var selected []signal
	for _, s := range heard {
		id, err := interfaces.ParseID(s.id)
		if err == nil && matches(m.parameters.Agent, id.Agent) && matches(m.parameters.Profile, id.Profile) {
			selected = append(selected, s)
		}
	}
	return selected
}

func matches(selector *string, value string) bool { return selector == nil || *selector == value }

// ask returns the sidecars that the signals are about, as they are now; those that
// are gone are missing. nil is returned to who would have to authenticate again.
func (m *monitor) ask(ctx context.Context, heard []signal) (map[string]interfaces.Sidecar, error) {
	never := false
	p := interfaces.ListParameters{Agent: m.parameters.Agent, Profile: m.parameters.Profile, AllowInteractiveAuthentication: &never}
	if !slices.ContainsFunc(heard, func(s signal) bool { return s.id != heard[0].id }) {
		p.ID = &heard[0].id
	}
	sidecars, err := m.session.list(ctx, p)
	now := map[string]interfaces.Sidecar{}
	var gone *client.UnreachableError
	switch {
	case errors.Is(err, interfaces.ErrInteractiveAuthenticationRequired):
		return nil, nil
	case errors.Is(err, interfaces.ErrNoSuchSidecar):
		return now, nil
	case errors.As(err, &gone):
		return nil, client.ErrInterrupted
	case err != nil:
		return nil, err
	}
	for _, s := range sidecars {
		now[s.ID] = s
	}
	return now, nil
}

// eventOf is what a signal means; false if another one follows that says more.
func eventOf(s signal, now map[string]interfaces.Sidecar) (interfaces.Event, bool) {
	e := interfaces.Event{Kind: s.kind, ID: &s.id}
	switch sidecar, there := now[s.id]; {
	case s.kind == interfaces.EventStopped:
	case there:
		e.Sidecar = &sidecar
	case now != nil:
		return e, false // it is gone by now
	default:
		id, _ := interfaces.ParseID(s.id)
		e.Sidecar = &interfaces.Sidecar{ID: s.id, Runtime: interfaces.Runtime{State: s.state, Unit: id.Unit()}}
	}
	return e, true
}

// kinds are the events that the manager's signals stand for.
var kinds = map[string]interfaces.EventKind{
	interfaces.ManagerInterface + ".Started": interfaces.EventStarted,
	interfaces.ManagerInterface + ".Ready":   interfaces.EventReady,
	interfaces.ManagerInterface + ".Changed": interfaces.EventChanged,
	interfaces.ManagerInterface + ".Stopped": interfaces.EventStopped,
	interfaces.ManagerInterface + ".Failed":  interfaces.EventFailed,
}
