package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// errNoState is the cause of the end of a stream that got no reply in time.
var errNoState = errors.New("no state")

// Monitor returns the events of the sidecars that every given selector matches:
// their state first, present for each of them and then synchronized, and from then
// on every change, until ctx ends or the loop is left. After overrun the state
// comes again: forget what was known before.
//
//	for event, err := range c.Monitor(ctx, interfaces.MonitorParameters{}) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// An error is the last element; a monitor never ends without one, unless the loop
// is left. It is ErrInterrupted when the service ends or restarts: begin again
// then, and the state tells what was missed. Only the first event has to come
// within DefaultTimeout.
//
// Each loop has a connection of its own, and does not count as one of the 32 calls
// at once. The service lets an agent, or a user on the host's socket, have 16 at a
// time and refuses more with interfaces.ErrOverloaded. Events that are not taken
// wait in the service.
func (c *Client) Monitor(ctx context.Context, p interfaces.MonitorParameters) iter.Seq2[interfaces.Event, error] {
	return func(yield func(interfaces.Event, error) bool) {
		p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
		left, err := stream(ctx, c, "Monitor", p, func(r interfaces.MonitorReply) bool { return yield(r.Event, nil) })
		if err == nil {
			err = ErrInterrupted // the service said that no more events follow
		}
		if !left {
			yield(interfaces.Event{}, err)
		}
	}
}

// stream hands replies on until take says that it was the last, or returns why there are no
// more; nil if the service said that no more follow. Only the first one has to come within
// DefaultTimeout.
func stream[R any](ctx context.Context, c *Client, method string, p any, take func(R) bool) (left bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(DefaultTimeout, func() { cancel(errNoState) })
	defer silence.Stop()
	decode := into(func(r R) {
		silence.Stop()
		left = !take(r)
	})
	err = c.converse(ctx, request{Method: ours + method, Parameters: p, More: true}, func(frame []byte) (bool, error) {
		continues, err := decode(frame)
		return continues && !left, err
	})
	if errors.Is(context.Cause(ctx), errNoState) {
		err = fmt.Errorf("no answer from the service in time: %w", context.DeadlineExceeded)
	}
	return left, err
}

// ReadLog returns the newest log entries of the sidecars that every given selector matches, the
// oldest of them first, also of sidecars that have ended. With Follow, new ones follow until
// ctx ends or the loop is left.
//
// An error is the last element; the loop ends without one only without Follow. As Monitor, it
// has a connection of its own, and does not count as one of the 32 calls at once. The service
// refuses a caller's fifth follower with interfaces.ErrOverloaded. A journal that cannot be
// read is interfaces.ErrHostFailure, which comes after the entries that could be read.
func (c *Client) ReadLog(ctx context.Context, p interfaces.ReadLogParameters) iter.Seq2[interfaces.LogEntry, error] {
	return func(yield func(interfaces.LogEntry, error) bool) {
		p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
		follow := p.Follow != nil && *p.Follow
		if !follow {
			var cancel context.CancelFunc
			ctx, cancel = WithDeadline(ctx, nil)
			defer cancel()
		}
		left, err := stream(ctx, c, "ReadLog", p, func(r interfaces.ReadLogReply) bool {
			return r.Entry == nil || yield(*r.Entry, nil)
		})
		if err == nil && follow {
			err = ErrInterrupted
		}
		if !left && err != nil {
			yield(interfaces.LogEntry{}, err)
		}
	}
}
