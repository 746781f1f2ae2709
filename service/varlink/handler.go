package varlink

import (
	"context"
	"errors"

	"tripleo.io/sidecar/interfaces"
)

// Handler carries out one call and answers it. An error that it returns is
// answered as the table of errors says; one that is not in the table is logged,
// and answered with HostFailure. The context ends when the peer goes away or the
// server is told to end.
type Handler func(ctx context.Context, peer Peer, call *Call) error

// Single makes the handler of a method that answers once. P is the struct of its
// parameters, R that of its reply.
func Single[P, R any](f func(context.Context, Peer, P) (R, error)) Handler {
	return func(ctx context.Context, peer Peer, call *Call) error {
		var p P
		if err := call.decode(&p); err != nil {
			return err
		}
		r, err := f(ctx, peer, p)
		if err != nil {
			return err
		}
		return call.reply(r, false)
	}
}

// Many makes the handler of a method that can answer more than once: f hands
// every reply to send and stops at send's error. If the caller did not ask for
// more, a second reply turns the answer into ExpectedMore. If there is nothing to
// send, f must return an error, as the interface's NoSuch… do.
func Many[P, R any](f func(ctx context.Context, peer Peer, p P, more bool, send func(R) error) error) Handler {
	return func(ctx context.Context, peer Peer, call *Call) error {
		var p P
		if err := call.decode(&p); err != nil {
			return err
		}
		out := &replies[R]{call: call}
		return out.finish(f(ctx, peer, p, call.More(), out.send))
	}
}

// errNoReply is a defect of a method.
var errNoReply = errors.New("the method sent no reply and returned no error")

// replies holds the latest reply back until it is known whether it is the last.
type replies[R any] struct {
	call   *Call
	held   *R
	failed error
}

func (r *replies[R]) send(next R) error {
	if r.failed != nil {
		return r.failed
	}
	if r.held != nil {
		r.failed = r.pass()
	}
	r.held = &next
	return r.failed
}

// pass sends what is held, as one that is not the last.
func (r *replies[R]) pass() error {
	if !r.call.More() {
		return interfaces.ErrExpectedMore
	}
	return r.call.reply(*r.held, true)
}

// finish answers the end of the method, which returned err.
func (r *replies[R]) finish(err error) error {
	switch {
	case r.failed != nil:
		return r.failed
	case err != nil && r.held != nil && r.call.More():
		if failed := r.pass(); failed != nil {
			return failed
		}
		return err
	case err != nil:
		return err
	case r.held == nil:
		return errNoReply
	}
	return r.call.reply(*r.held, false)
}
