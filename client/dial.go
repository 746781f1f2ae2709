package client

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// queueDelay is the time between two tries to connect while the service's queue
// is full.
const queueDelay = 10 * time.Millisecond

// dial connects. A blocking connect(2) waits while the listener's queue is full;
// Go's sockets do not block and get EAGAIN, so the wait is done here.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", c.path)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, timedOut(ctx)
		case !errors.Is(err, syscall.EAGAIN):
			return nil, &UnreachableError{Address: c.Address(), Err: cause(err)}
		}
		select {
		case <-ctx.Done():
			return nil, timedOut(ctx)
		case <-time.After(queueDelay):
		}
	}
}

// cause takes off net's wrapping, which repeats the address.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
