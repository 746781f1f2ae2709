package varlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	varlinkgo "github.com/varlink/go/varlink"

	"tripleo.io/sidecar/interfaces"
)

// Interface is what is served beside org.varlink.service.
type Interface struct {
	Name        string
	Description string             // the text of the .varlink file
	Methods     map[string]Handler // by name without the interface
}

// errPanic ends the connection on which a handler panicked.
var errPanic = errors.New("panic in a handler")

// dispatcher is an Interface as varlink/go wants it.
type dispatcher struct {
	Interface
	log *slog.Logger
}

type peerKey struct{}

// VarlinkGetName is for varlink/go.
func (d *dispatcher) VarlinkGetName() string { return d.Name }

// VarlinkGetDescription is for varlink/go.
func (d *dispatcher) VarlinkGetDescription() string { return d.Description }

// VarlinkDispatch is for varlink/go, which calls it with a Call of ours as
// connection. Its error ends the connection.
func (d *dispatcher) VarlinkDispatch(ctx context.Context, c varlinkgo.Call, method string) error {
	call, ok := c.Conn.(*Call)
	if !ok {
		return fmt.Errorf("call on a %T", c.Conn)
	}
	handler, ok := d.Methods[method]
	if !ok {
		return call.answer(&interfaces.MethodNotFoundError{Method: cut(call.Method())})
	}
	peer, _ := ctx.Value(peerKey{}).(Peer)
	return d.answer(ctx, peer, call, d.run(ctx, handler, peer, call))
}

// run calls the handler and turns a panic into errPanic.
func (d *dispatcher) run(ctx context.Context, handler Handler, peer Peer, call *Call) (err error) {
	defer func() {
		if value := recover(); value != nil {
			d.log.Error("panic in a handler", "method", call.Method(), peer.log(),
				"panic", value, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return handler(ctx, peer, call)
}

// answer sends the error that a handler returned, if any. It returns what must
// end the connection.
func (d *dispatcher) answer(ctx context.Context, peer Peer, call *Call, err error) error {
	if err == nil || errors.Is(err, errWrite) {
		return err
	}
	if errors.Is(err, errPanic) {
		return errors.Join(err, call.answer(interfaces.Unexpected()))
	}
	if _, _, known := interfaces.ToWire(err); !known {
		d.logUnknown(ctx, peer, call, err)
		err = interfaces.Unexpected()
	}
	return call.answer(err)
}

// logUnknown writes an error that is not in the table. A handler that gave up
// because its context ended is no defect.
func (d *dispatcher) logUnknown(ctx context.Context, peer Peer, call *Call, err error) {
	level := slog.LevelError
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		level = slog.LevelDebug
	}
	d.log.LogAttrs(ctx, level, "call failed", slog.String("method", call.Method()), peer.log(), slog.Any("error", err))
}

// answer sends an error of the table.
func (c *Call) answer(err error) error {
	row, parameters, _ := interfaces.ToWire(err)
	return c.replyError(row.Varlink, parameters)
}
