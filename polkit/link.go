package polkit

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// errBus says that it is not polkit that has failed, but the way to it.
var errBus = errors.New("the bus")

// link is the connection to the bus, as long as there is one.
type link struct {
	config bus.Config
	turn   chan struct{} // has an element while somebody dials or looks
	conn   *dbus.Conn    // nil if there is none; guarded by turn
}

// get returns the connection, and makes it if need be. One that was lost is
// noticed by the next question.
func (l *link) get(ctx context.Context) (*dbus.Conn, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	if l.conn != nil && l.conn.Context().Err() == nil {
		return l.conn, nil
	}
	conn, err := bus.Dial(ctx, l.config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBus, err)
	}
	l.conn = conn
	return conn, nil
}

func (l *link) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.conn != nil {
		_ = l.conn.Close()
	}
}
