package dbus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// session is a connection to a bus on which there is a service.
type session struct {
	conn        *godbus.Conn
	address     string
	interactive bool
	owner       atomic.Pointer[string] // unique name of the service; nil before it is known
	release     func()
}

// open connects when it is this call's turn.
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

// connect connects to the bus and finds the service, which the bus starts if it has
// to. What comes from anybody else is not even read.
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

// accept lets through what the bus says, and the service once it is known.
func (s *session) accept(h bus.Header) bool {
	owner := s.owner.Load()
	if h.Sender != bus.Name && (owner == nil || h.Sender != *owner) {
		return false
	}
	return h.Reply() || h.Type == godbus.TypeSignal
}

// find asks the bus for the service. Its policy lets only root have the name; but
// where that policy is not installed, another one must not be told what root wants.
func (s *session) find(ctx context.Context) error {
	var owner string
	err := s.askBus(ctx, &owner, "GetNameOwner", interfaces.BusName)
	if isError(err, generic+"NameHasNoOwner") {
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

// inWords takes off what only programs want to know of the bus's answer.
func inWords(err error) error {
	var answer godbus.Error
	switch {
	case !errors.As(err, &answer):
		return err
	case answer.Name == generic+"ServiceUnknown", answer.Name == generic+"NameHasNoOwner":
		return fmt.Errorf("there is no %s on the bus", interfaces.BusName)
	}
	return fmt.Errorf("%s: %w", answer.Name, err)
}
