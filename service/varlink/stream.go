package varlink

import (
	"context"
	"errors"
	"fmt"

	"tripleo.io/sidecar/interfaces"
)

// errEnding is the cause of a stream's end when the server ends.
var errEnding = errors.New("the server ends")

// Stream makes the handler of a method that answers without end: every reply is
// sent at once, and says that more follow. Its context also ends when the server
// is told to end, which nobody waits for; the peer sees the connection end, as it
// would if the server were killed. A caller that did not ask for more gets
// ExpectedMore.
func Stream[P, R any](f func(ctx context.Context, peer Peer, p P, send func(R) error) error) Handler {
	return func(ctx context.Context, peer Peer, call *Call) error {
		var p P
		if err := call.decode(&p); err != nil {
			return err
		}
		if !call.More() {
			return interfaces.ErrExpectedMore
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := context.AfterFunc(call.ending, func() {
			cancel(errEnding)
			_ = call.hangUp() // a reply that is not being taken ends, too
		})
		defer stop()
		err := f(ctx, peer, p, func(r R) error { return call.reply(r, true) })
		if context.Cause(ctx) == errEnding {
			return fmt.Errorf("%w: %w", errWrite, errEnding)
		}
		return err
	}
}
