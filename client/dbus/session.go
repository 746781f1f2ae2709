package dbus

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
)

// session is a connection to a bus that has the service.
type session struct {
	conn        *godbus.Conn
	address     string
	interactive bool
	owner       atomic.Pointer[string] // unique name of the service; nil before it is known
	release     func()
}

// open waits for a slot and connects.
func (c *Client) open(ctx context.Context) (*session, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, timedOut(ctx)
	}
	s, err := c.connect(ctx, nil)
	if err != nil {
		<-c.slots
		return nil, err
	}
	s.release = func() { <-c.slots }
	return s, nil
}

// connect connects to the bus and finds the service, which the bus starts if necessary.
func (c *Client) connect(ctx context.Context, signals godbus.SignalHandler) (*session, error) {
	s := &session{address: c.address, interactive: c.interactive, release: func() {}}
	conn, err := bus.Dial(ctx, bus.Config{Address: c.address, Accept: s.accept, Signals: signals})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, timedOut(ctx)
	case err != nil:
		return nil, &client.UnreachableError{Address: c.address, Err: err}
	}
	s.conn = conn
	if err := s.find(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	_ = s.conn.Close()
	s.release()
}

// accept lets through messages of the bus, and of the service once it is known.
func (s *session) accept(h bus.Header) bool {
	owner := s.owner.Load()
	if h.Sender != bus.Name && (owner == nil || h.Sender != *owner) {
		return false
	}
	return h.Reply() || h.Type == godbus.TypeSignal
}

// find asks the bus for the service. The service's bus policy lets only root own the name,
// but it may not be installed, and then another owner must not get root's calls.
func (s *session) find(ctx context.Context) error {
	var owner string
	err := s.askBus(ctx, &owner, "GetNameOwner", interfaces.BusName)
	if nameOf(err) == bus.ErrorPrefix+"NameHasNoOwner" {
		var started uint32
		if err = s.askBus(ctx, &started, "StartServiceByName", interfaces.BusName, uint32(0)); err == nil {
			err = s.askBus(ctx, &owner, "GetNameOwner", interfaces.BusName)
		}
	}
	var uid uint32
	if err == nil {
		err = s.askBus(ctx, &uid, "GetConnectionUnixUser", owner)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return timedOut(ctx)
	case err != nil:
		return &client.UnreachableError{Address: s.address, Err: inWords(err)}
	case uid != 0:
		return fmt.Errorf("%w: %s on the bus belongs to user %d, and not to root", client.ErrProtocol, interfaces.BusName, uid)
	}
	s.owner.Store(&owner)
	return nil
}

// askBus calls a method of the bus itself.
func (s *session) askBus(ctx context.Context, out any, method string, arguments ...any) error {
	return s.conn.Object(bus.Name, bus.Path).CallWithContext(ctx, bus.Name+"."+method, 0, arguments...).Store(out)
}

// call is a call of the manager's object.
type call struct {
	method      string
	parameters  any   // of the varlink method, for their names
	interactive *bool // nil: the client's default
	body        []any
	iface       string // "": the manager's
}

// call makes a call and waits for the answer. If ctx ends before, the connection must be
// closed, which cancels the call.
func (s *session) call(ctx context.Context, c call) ([]any, error) {
	interactive := *cmp.Or(c.interactive, &s.interactive)
	iface := cmp.Or(c.iface, interfaces.ManagerInterface)
	m := &godbus.Message{Type: godbus.TypeMethodCall, Body: c.body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(*s.owner.Load()),
		godbus.FieldPath:        godbus.MakeVariant(godbus.ObjectPath(interfaces.ManagerPath)),
		godbus.FieldInterface:   godbus.MakeVariant(iface),
		godbus.FieldMember:      godbus.MakeVariant(c.method),
		godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(c.body...)),
	}}
	if interactive {
		m.Flags |= godbus.FlagAllowInteractiveAuthorization
	}
	reply := <-s.conn.SendWithContext(ctx, m, make(chan *godbus.Call, 1)).Done
	if reply.Err != nil {
		return nil, s.failure(ctx, reply.Err, c.parameters)
	}
	return reply.Body, nil
}

// call makes a call on a connection of its own.
func (c *Client) call(ctx context.Context, what call) ([]any, error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.call(ctx, what)
}

// answer makes a call that is answered with a dictionary.
func answer[T any](ctx context.Context, c *Client, what call) (*T, error) {
	body, err := c.call(ctx, what)
	if err != nil {
		return nil, err
	}
	var out T
	if err := read(body, 0, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// read sets the struct that out points to from the dictionary at a position of a body.
// godbus's Store would lose the types of the values.
func read(body []any, at int, out any) error {
	entries, err := value[map[string]godbus.Variant](body, at)
	if err != nil {
		return err
	}
	if err := dict.Decode(entries, out); err != nil {
		return fmt.Errorf("%w: %v", client.ErrProtocol, err)
	}
	return nil
}

// value returns the value at a position of a body.
func value[T any](body []any, at int) (v T, err error) {
	if at >= len(body) {
		return v, fmt.Errorf("%w: %d values", client.ErrProtocol, len(body))
	}
	v, ok := body[at].(T)
	if !ok {
		err = fmt.Errorf("%w: value %d is of type %s", client.ErrProtocol, at, godbus.SignatureOf(body[at]))
	}
	return v, err
}
