package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// errNoState is the cause of a monitor's end that was never told anything.
var errNoState = errors.New("no state")

// Monitor returns the events of the sidecars that every given selector matches:
// their state first, present for each of them and then synchronized, and from then
// on every change, until ctx ends or the loop is left. After overrun the state
// comes anew; forget what is known then.
//
//	for event, err := range c.Monitor(ctx, interfaces.MonitorParameters{}) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// An error is the last element; a monitor never ends without one, unless the loop
// is left. It is ErrInterrupted when the service ends or restarts: begin anew
// then, and the state tells what was missed. Only the first event has to come
// within DefaultTimeout.
//
// Each loop has a connection of its own, and is not one of the calls that wait for
// each other. The service lets an agent, or a user on the host's socket, have 16 at
// a time and refuses more with interfaces.ErrOverloaded. Events that are not taken
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
	r := request{Method: interfaces.Name + ".Monitor", Parameters: p, More: true}
	err = c.converse(ctx, r, func(frame []byte) (bool, error) {
		continues, err := decode(frame)
		return continues && !left, err
	})
	switch {
	case errors.Is(context.Cause(ctx), errNoState):
		err = fmt.Errorf("no answer from the service in time: %w", context.DeadlineExceeded)
	case err == nil:
		err = ErrInterrupted // a service that says of an event that it is the last one
	}
	return left, err
}
