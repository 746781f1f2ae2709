package dbus

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"slices"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// Monitor returns the events of the sidecars that every given selector matches, as
// client.Client.Monitor does: their state first, then every change, until ctx ends or the
// loop is left. An error is the last element; it is client.ErrInterrupted when the service
// ends or restarts.
//
// Monitor lists the sidecars for the state, and again after signals, so an event has the
// sidecar as listed then. A person can be asked to authenticate for the state only. A caller
// who needs that gets only the ID and the state in later events, as the signals have them.
func (c *Client) Monitor(ctx context.Context, p interfaces.MonitorParameters) iter.Seq2[interfaces.Event, error] {
	return func(yield func(interfaces.Event, error) bool) {
		m := &monitor{
			parameters: p, queue: newQueue(maxQueued),
			take: func(e interfaces.Event) bool { return yield(e, nil) },
		}
		if err := m.run(ctx, c); !errors.Is(err, errLeft) {
			yield(interfaces.Event{}, err)
		}
	}
}

// errLeft means that the caller has left the loop.
var errLeft = errors.New("the loop was left")

// monitor is one loop over events.
type monitor struct {
	session    *session
	queue      *queue
	parameters interfaces.MonitorParameters
	take       func(interfaces.Event) bool
}

// run passes events to take, and returns why they end.
func (m *monitor) run(ctx context.Context, c *Client) error {
	beginning, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	s, err := c.connect(beginning, m.queue)
	if err != nil {
		return err
	}
	defer s.close()
	m.session = s
	if err := m.subscribe(beginning); err != nil {
		return err
	}
	told, err := m.state(beginning)
	for err == nil {
		told, err = m.next(ctx, told)
	}
	return err
}

// subscribe subscribes to the manager's signals, and to the end of the service.
func (m *monitor) subscribe(ctx context.Context) error {
	for _, rule := range []string{
		"type='signal',sender='" + bus.Name + "',member='NameOwnerChanged',arg0='" + interfaces.BusName + "'",
		"type='signal',sender='" + interfaces.BusName + "',path='" + interfaces.ManagerPath + "',interface='" + interfaces.ManagerInterface + "'",
	} {
		call := m.session.conn.Object(bus.Name, bus.Path).CallWithContext(ctx, bus.Name+".AddMatch", 0, rule)
		if call.Err != nil {
			return m.session.failure(ctx, call.Err, m.parameters)
		}
	}
	// The service may have left before the first match rule.
	var owner string
	err := m.session.askBus(ctx, &owner, "GetNameOwner", interfaces.BusName)
	if err == nil && owner != *m.session.owner.Load() {
		return client.ErrInterrupted
	}
	if err != nil {
		return m.session.failure(ctx, err, m.parameters)
	}
	return nil
}

// state passes on the state, and returns it. Signals that are queued meanwhile may be older.
func (m *monitor) state(ctx context.Context) (map[string]interfaces.Sidecar, error) {
	sidecars, err := m.session.list(ctx, interfaces.ListParameters{
		Agent: m.parameters.Agent, Profile: m.parameters.Profile,
		AllowInteractiveAuthentication: m.parameters.AllowInteractiveAuthentication,
	})
	if err != nil {
		return nil, err
	}
	told := map[string]interfaces.Sidecar{}
	for _, s := range sidecars {
		told[s.ID] = s
		if !m.take(interfaces.Event{Kind: interfaces.EventPresent, ID: &s.ID, Sidecar: &s}) {
			return nil, errLeft
		}
	}
	if !m.take(interfaces.Event{Kind: interfaces.EventSynchronized}) {
		return nil, errLeft
	}
	return told, nil
}

// next waits for signals and passes on their events. told is the state if it was passed on
// just before, or nil; so is the result.
func (m *monitor) next(ctx context.Context, told map[string]interfaces.Sidecar) (map[string]interfaces.Sidecar, error) {
	select {
	case <-ctx.Done():
		return nil, timedOut(ctx)
	case <-m.session.conn.Context().Done():
		return nil, client.ErrInterrupted
	case <-m.queue.filled:
	}
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	queued, overrun, left := m.queue.take()
	signals := m.selected(queued)
	switch {
	case left:
		return nil, client.ErrInterrupted
	case overrun && !m.take(interfaces.Event{Kind: interfaces.EventOverrun}):
		return nil, errLeft
	case overrun:
		return m.state(ctx)
	case len(signals) == 0:
		return told, nil
	}
	return nil, m.tell(ctx, signals, told)
}

// tell passes on the events of signals. Signals that add nothing to the state in told are
// older than the state, and are dropped.
func (m *monitor) tell(ctx context.Context, signals []signal, told map[string]interfaces.Sidecar) error {
	now, err := m.ask(ctx, signals)
	if err != nil {
		return err
	}
	for _, s := range signals {
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

// same reports whether a sidecar is the same in two states.
func same(a, b map[string]interfaces.Sidecar, id string) bool {
	one, inOne := a[id]
	other, inOther := b[id]
	return inOne == inOther && reflect.DeepEqual(one, other)
}

// selected are the signals about sidecars that the selectors match.
func (m *monitor) selected(signals []signal) []signal {
	return slices.DeleteFunc(signals, func(s signal) bool {
		id, err := interfaces.ParseID(s.id)
		return err != nil || !matches(m.parameters.Agent, id.Agent) || !matches(m.parameters.Profile, id.Profile)
	})
}

func matches(selector *string, value string) bool { return selector == nil || *selector == value }

// ask lists the sidecars of the signals as they are now, without those that have ended. It
// returns nil if the caller would have to authenticate again.
func (m *monitor) ask(ctx context.Context, signals []signal) (map[string]interfaces.Sidecar, error) {
	p := interfaces.ListParameters{Agent: m.parameters.Agent, Profile: m.parameters.Profile, AllowInteractiveAuthentication: new(false)}
	if !slices.ContainsFunc(signals, func(s signal) bool { return s.id != signals[0].id }) {
		p.ID = &signals[0].id
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

// eventOf is the event of a signal; false if a later signal will say more.
func eventOf(s signal, now map[string]interfaces.Sidecar) (interfaces.Event, bool) {
	e := interfaces.Event{Kind: s.kind, ID: &s.id}
	switch sidecar, there := now[s.id]; {
	case s.kind == interfaces.EventStopped:
	case there:
		e.Sidecar = &sidecar
	case now != nil:
		return e, false // the sidecar has ended by now
	default:
		id, _ := interfaces.ParseID(s.id)
		e.Sidecar = &interfaces.Sidecar{ID: s.id, Runtime: interfaces.Runtime{State: s.state, Unit: id.Unit()}}
	}
	return e, true
}

// kinds are the events of the manager's signals.
var kinds = map[string]interfaces.EventKind{
	interfaces.ManagerInterface + ".Started": interfaces.EventStarted,
	interfaces.ManagerInterface + ".Ready":   interfaces.EventReady,
	interfaces.ManagerInterface + ".Changed": interfaces.EventChanged,
	interfaces.ManagerInterface + ".Stopped": interfaces.EventStopped,
	interfaces.ManagerInterface + ".Failed":  interfaces.EventFailed,
}
