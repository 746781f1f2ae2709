package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/retry"
)

// Pauses between attempts at a call that may be repeated.
const (
	minRetry = 10 * time.Millisecond
	maxRetry = 500 * time.Millisecond
)

// call makes one method call to systemd and returns the body of the reply. It waits for a
// free slot, for the bus and for the reply, all within CallTimeout.
func (c *Conn) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	bodies, err := c.callTogether(ctx, path, method, args)
	if err != nil {
		return nil, err
	}
	return bodies[0], nil
}

// callTogether makes one call of the method for each list of arguments, without waiting for
// replies in between, and returns the bodies of the replies. The calls, few, take one slot.
func (c *Conn) callTogether(ctx context.Context, path dbus.ObjectPath, method string, args ...[]any) ([][]any, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
	case <-limited.Done():
		return nil, notSent(ctx, method, "too many calls in flight")
	}
	l, err := c.current(limited)
	if err == nil && limited.Err() == nil {
		return c.send(ctx, limited, l, path, method, args)
	}
	<-c.slots
	if errors.Is(err, ErrClosed) {
		return nil, fmt.Errorf("%s: %w", method, ErrClosed)
	}
	return nil, notSent(ctx, method, "the bus is away")
}

// send sends calls and waits for the replies or for limited, which is ctx with CallTimeout.
// It frees the slot only when the replies come, even after the caller has gone: the bus
// counts a call until it is answered, and refuses all calls of a connection with more than
// 128 of them (max_replies_per_connection of dbus-daemon(1)).
func (c *Conn) send(ctx, limited context.Context, l *link, path dbus.ObjectPath, method string, args [][]any) ([][]any, error) {
	answered := make(chan *dbus.Call, len(args))
	sent := false
	defer func() {
		if !sent { // godbus panicked because of args
			<-c.slots
		}
	}()
	calls := make([]*dbus.Call, len(args))
	for i := range args {
		calls[i] = l.bus.Object(destination, path).Go(method, dbus.FlagNoAutoStart, answered, args[i]...)
	}
	sent = true
	for answers := range args {
		select {
		case <-answered:
			continue
		case <-limited.Done():
		}
		go func() {
			for range args[answers:] {
				select {
				case <-answered:
				case <-l.bus.Context().Done():
				}
			}
			<-c.slots
		}()
		return nil, translate(ctx, method, limited.Err())
	}
	<-c.slots
	bodies := make([][]any, len(args))
	for i, call := range calls {
		if call.Err != nil {
			return nil, translate(ctx, method, call.Err)
		}
		bodies[i] = call.Body
	}
	return bodies, nil
}

func notSent(ctx context.Context, method, why string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
	return fmt.Errorf("%s: %w: %s", method, errNotSent, why)
}

// retry repeats a call, which must be safe to repeat, until it is answered or CallTimeout
// has passed: meanwhile the bus may restart, or systemd re-execute itself.
func (c *Conn) retry(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	var body []any
	var err error
	retry.Do(limited, minRetry, maxRetry, func() bool {
		body, err = c.call(limited, path, method, args...)
		return errors.Is(err, ErrDisconnected)
	})
	return body, c.outOfTime(ctx, limited, method, err)
}

// outOfTime replaces the error of a call that our own time limit ended, and not ctx.
func (c *Conn) outOfTime(ctx, limited context.Context, method string, err error) error {
	if err == nil || limited.Err() == nil || ctx.Err() != nil || errors.Is(err, ErrDisconnected) {
		return err
	}
	return fmt.Errorf("%s: %w within %s", method, ErrDisconnected, c.config.CallTimeout)
}
