package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// errNoState is the cause of the end of a monitor that got no event in time.
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
		left, err := c.monitor(ctx, p, func(e interfaces.Event) bool { return yield(e, nil) })
		if !left {
			yield(interfaces.Event{}, err)
		}
	}
}

// monitor hands events on until take says that it was the last, or returns why
// there are no more.
func (c *Client) monitor(ctx context.Context, p interfaces.MonitorParameters, take func(interfaces.Event) bool) (left bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(DefaultTimeout, func() { cancel(errNoState) })
	defer silence.Stop()
	decode := into(func(r interfaces.MonitorReply) {
		silence.Stop()
		left = !take(r.Event)
	})
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	r := request{Method: ours + "Monitor", Parameters: p, More: true}
	err = c.converse(ctx, r, func(frame []byte) (bool, error) {
		continues, err := decode(frame)
		return continues && !left, err
	})
	switch {
	case errors.Is(context.Cause(ctx), errNoState):
		err = fmt.Errorf("no answer from the service in time: %w", context.DeadlineExceeded)
	case err == nil:
		err = ErrInterrupted // the service said that no more events follow
	}
	return left, err
}
