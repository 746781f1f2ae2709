package dbus

import (
	"context"
	"errors"
	"iter"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// Monitor returns the events of the sidecars that every given selector matches, as
// that of client.Client does: their state first, from then on every change, until
// ctx ends or the loop is left. An error is the last element; it is
// client.ErrInterrupted when the service ends or restarts.
//
// The state is asked for as by List, and so is a sidecar after every signal about
// it: the event has what is the case then. Only for the state can a person be asked
// to authenticate. Who had to is then told no more of a sidecar than everybody on
// the bus, which is its ID and its state.
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

// errLeft means that whoever takes the events wants no more.
var errLeft = errors.New("the loop was left")

// monitor is one loop over events.
type monitor struct {
	session    *session
	queue      *queue
	parameters interfaces.MonitorParameters
	take       func(interfaces.Event) bool
}

// run hands events on, and returns why there are no more.
func (m *monitor) run(ctx context.Context, c *Client) error {
	beginning, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	s, err := c.connect(beginning, m.queue)
	if err != nil {
		return err
	}
	defer s.close()
	m.session = s
	if err := m.listen(beginning); err != nil {
		return err
	}
	told, err := m.state(beginning)
	for err == nil {
		told, err = m.next(ctx, told)
	}
	return err
}

// listen has the bus pass on the signals of the manager, and that the service left.
func (m *monitor) listen(ctx context.Context) error {
	for _, rule := range []string{
		"type='signal',sender='" + bus.Name + "',member='NameOwnerChanged',arg0='" + interfaces.BusName + "'",
		"type='signal',sender='" + interfaces.BusName + "',path='" + interfaces.ManagerPath + "',interface='" + interfaces.ManagerInterface + "'",
	} {
		call := m.session.conn.Object(bus.Name, bus.Path).CallWithContext(ctx, bus.Name+".AddMatch", 0, rule)
		if call.Err != nil {
			return m.session.failure(ctx, call.Err, m.parameters)
		}
	}
	// Who left before the first rule was there is not heard of.
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

// state tells the state, and returns it. Signals that are queued meanwhile may be
// older than it.
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

// next waits for signals, and tells what they mean. told is a state that was just
// told; it returns the one that is, or nil.
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
	heard, overrun, left := m.queue.empty()
	heard = m.selected(heard)
	switch {
	case left:
		return nil, client.ErrInterrupted
	case overrun && !m.take(interfaces.Event{Kind: interfaces.EventOverrun}):
		return nil, errLeft
	case overrun:
		return m.state(ctx)
	case len(heard) == 0:
		return told, nil
	}
	return nil, m.tell(ctx, heard, told)
}
