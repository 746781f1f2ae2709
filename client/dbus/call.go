package dbus

import (
	"context"
	"fmt"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// call is a call of the manager's object.
type call struct {
	method      string
	parameters  any   // of the varlink method, for their names
	interactive *bool // nil: as the client says
	body        []any
	iface       string // "": that of the manager
}

// call makes a call on a connection of its own, when it is its turn.
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

// read sets the struct that out points to from the dictionary at a position of a
// body. godbus's own Store would forget the types of what is in it.
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

// value returns what is at a position of a body.
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

// call makes a call and waits for the answer. If ctx ends before, the connection
// is of no more use; that it is closed tells the service that nobody waits.
func (s *session) call(ctx context.Context, what call) ([]any, error) {
	interactive := s.interactive
	if what.interactive != nil {
		interactive = *what.interactive
	}
	iface := what.iface
	if iface == "" {
		iface = interfaces.ManagerInterface
	}
	m := &godbus.Message{Type: godbus.TypeMethodCall, Body: what.body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(*s.owner.Load()),
		godbus.FieldPath:        godbus.MakeVariant(godbus.ObjectPath(interfaces.ManagerPath)),
		godbus.FieldInterface:   godbus.MakeVariant(iface),
		godbus.FieldMember:      godbus.MakeVariant(what.method),
		godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(what.body...)),
	}}
	if interactive {
		m.Flags |= godbus.FlagAllowInteractiveAuthorization
	}
	reply := <-s.conn.SendWithContext(ctx, m, make(chan *godbus.Call, 1)).Done
	if reply.Err != nil {
		return nil, s.failure(ctx, reply.Err, what.parameters)
	}
	return reply.Body, nil
}
