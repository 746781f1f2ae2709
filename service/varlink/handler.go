package varlink

import (
	"context"
	"errors"
	"fmt"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// Handler carries out one call and answers it. An error that it returns is
// answered as the table of errors says; one that is not in the table is logged,
// and answered with HostFailure. The context ends when the peer goes away or the
// server is told to end.
type Handler func(ctx context.Context, caller service.Caller, call *Call) error

var (
	// errNoReply is a defect of a method.
	errNoReply = errors.New("the method has neither a reply nor an error")
	// errEnding is the cause of a stream's end when the server ends.
	errEnding = errors.New("the server ends")
)

// handler makes a Handler of a function that gets the decoded parameters.
func handler[P any](f func(ctx context.Context, caller service.Caller, call *Call, p P) error) Handler {
	return func(ctx context.Context, caller service.Caller, call *Call) error {
		var p P
		if err := decodeParameters(*call.Parameters, &p); err != nil {
			call.conn.server.rejected(service.RejectedAsMalformed)
			return err
		}
		return f(ctx, caller, call, p)
	}
}

// Single makes the handler of a method that answers once. P is the struct of its
// parameters, R the struct of its reply.
func Single[P, R any](f func(context.Context, service.Caller, P) (R, error)) Handler {
	return handler(func(ctx context.Context, caller service.Caller, call *Call, p P) error {
		r, err := f(ctx, caller, p)
		if err != nil {
			return err
		}
		return call.reply(r, false)
	})
}

// Many makes the handler of a method that answers once for each item that f returns, with
// what reply makes of the item. more says whether the caller takes more than one reply; if
// not, two items become ExpectedMore. Without an item f must return an error, as the
// interface's NoSuch… do.
func Many[P, T, R any](f func(ctx context.Context, caller service.Caller, p P, more bool) ([]T, error), reply func(T) R) Handler {
	return handler(func(ctx context.Context, caller service.Caller, call *Call, p P) error {
		items, err := f(ctx, caller, p, call.More)
		switch {
		case err != nil:
			return err
		case len(items) == 0:
			return errNoReply
		case len(items) > 1 && !call.More:
			return interfaces.ErrExpectedMore
		}
		replies := replies{call: call}
		for i, item := range items {
			if err := replies.add(message{Parameters: reply(item), Continues: i < len(items)-1}); err != nil {
				return err
			}
		}
		return replies.send()
	})
}

// Stream makes the handler of a method that can answer without end: every reply is
// sent at once, and says whether more follow. Its context also ends when the server
// is told to end, which does not wait for streams; the peer sees the connection end, as
// it would if the server were killed. A caller that did not ask for more gets
// ExpectedMore.
func Stream[P, R any](f func(ctx context.Context, caller service.Caller, p P, send func(r R, continues bool) error) error) Handler {
	return handler(func(ctx context.Context, caller service.Caller, call *Call, p P) error {
		if !call.More {
			call.conn.server.rejected(service.RejectedAsMalformed)
			return interfaces.ErrExpectedMore
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := context.AfterFunc(call.conn.server.ending, func() {
			cancel(errEnding)
			_ = call.conn.net.Close() // ends a reply that the peer does not take
		})
		defer stop()
		err := f(ctx, caller, p, func(r R, continues bool) error { return call.reply(r, continues) })
		if context.Cause(ctx) == errEnding {
			return fmt.Errorf("%w: %w", errWrite, errEnding)
		}
		return err
	})
}
