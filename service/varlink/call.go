package varlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	varlinkgo "github.com/varlink/go/varlink"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

var (
	// errWrite ends a connection whose peer did not take a reply.
	errWrite = errors.New("reply not taken")
	// errPanic ends the connection on which a handler panicked.
	errPanic = errors.New("panic in a handler")
	// errOurs is for varlink/go, which gets no calls of our interface.
	errOurs = errors.New("the server dispatches the calls of its own interface")
)

// Interface is what is served beside org.varlink.service.
type Interface struct {
	Name        string
	Description string             // the text of the .varlink file
	Methods     map[string]Handler // by name without the interface
}

// envelope is a varlink call (https://varlink.org/Method-Call).
type envelope struct {
	Method     string          `json:"method"`
	Parameters *jsontext.Value `json:"parameters"`
	More       bool            `json:"more,omitempty"`
	Oneway     bool            `json:"oneway,omitempty"`
	Upgrade    bool            `json:"upgrade,omitempty"`
}

// parseEnvelope checks a frame as strictly as systemd's sd-varlink does: varlink/go takes
// Method for method, and the last of two. After an error the connection must end.
func parseEnvelope(frame []byte) (*envelope, error) {
	e := &envelope{}
	if err := decodeParameters(frame, e); err != nil {
		return nil, fmt.Errorf("not a varlink call: %w", err)
	}
	if e.Parameters == nil {
		e.Parameters = new(jsontext.Value("{}"))
	}
	if e.Parameters.Kind() != '{' {
		return nil, errors.New("not a varlink call: parameters: must be an object")
	}
	if e.More && e.Oneway {
		return nil, errors.New("not a varlink call: both more and oneway")
	}
	return e, nil
}

// Call is one call of a peer, and the way back.
type Call struct {
	*envelope
	conn *conn
}

// message is a reply (https://varlink.org/Method-Call).
type message struct {
	Parameters any    `json:"parameters"`
	Continues  bool   `json:"continues,omitzero"`
	Error      string `json:"error,omitzero"`
}

// reply sends one reply; continues says that another one follows.
func (c *Call) reply(parameters any, continues bool) error {
	r := replies{call: c}
	if err := r.add(message{Parameters: parameters, Continues: continues}); err != nil {
		return err
	}
	return r.send()
}

// replyError sends an error of the table.
func (c *Call) replyError(err error) error {
	row, parameters, _ := interfaces.ToWire(err)
	r := replies{call: c}
	if err := r.add(message{Parameters: parameters, Error: row.Varlink}); err != nil {
		return err
	}
	return r.send()
}

// maxTogether is how many bytes of replies wait to be sent together.
const maxTogether = 64 << 10

// replies are the replies of one call that are sent together: a List has thousands.
type replies struct {
	call   *Call
	frames bytes.Buffer
}

// form is how replies are written, so that they fit the interface: an empty list is [] and
// never null, a pointer is left out only if it is nil, and bytes that are not UTF-8 (the
// output of some program) become U+FFFD.
var form = json.JoinOptions(jsonv1.OmitEmptyWithLegacySemantics(true), jsontext.AllowInvalidUTF8(true))

// add encodes a reply, and sends those so far if they are many.
func (r *replies) add(m message) error {
	if r.call.Oneway {
		return nil
	}
	if m.Parameters == nil {
		m.Parameters = struct{}{}
	}
	if err := json.MarshalWrite(&r.frames, m, form); err != nil {
		return err
	}
	r.frames.WriteByte(0)
	if r.frames.Len() < maxTogether {
		return nil
	}
	return r.send()
}

// send sends the replies that wait.
func (r *replies) send() error {
	if r.frames.Len() == 0 {
		return nil
	}
	defer r.frames.Reset()
	return r.call.conn.write(r.frames.Bytes())
}

// dispatch answers a call, which the frame holds. Its error ends the connection.
//
// varlink/go answers for org.varlink.service and for interfaces that do not exist. It
// parses the frame again, which the methods of our interface are spared.
func (s *Server) dispatch(ctx context.Context, caller service.Caller, call *Call, frame []byte) error {
	dot := strings.LastIndexByte(call.Method, '.')
	if dot < 0 || call.Method[:dot] != s.served.Name {
		if reason := rejectionOf(call.Method); reason != "" {
			s.rejected(reason)
		}
		return s.service.HandleMessage(ctx, libraryConn{conn: call.conn}, frame)
	}
	handler, ok := s.served.Methods[call.Method[dot+1:]]
	if !ok {
		s.rejected(service.RejectedAsUnknown)
		return call.replyError(&interfaces.MethodNotFoundError{Method: cut(call.Method)})
	}
	err := s.run(ctx, handler, caller, call)
	switch _, _, known := interfaces.ToWire(err); {
	case err == nil, errors.Is(err, errWrite):
		return err
	case errors.Is(err, errPanic):
		return errors.Join(err, call.replyError(interfaces.Unexpected()))
	case !known:
		s.logUnknown(ctx, caller, call, err)
		err = interfaces.Unexpected()
	}
	return call.replyError(err)
}

// rejectionOf returns why varlink/go refuses a method of another interface than ours, "" if it
// has it.
func rejectionOf(method string) service.Rejection {
	switch {
	case method == "org.varlink.service.GetInfo", method == "org.varlink.service.GetInterfaceDescription":
		return ""
	case strings.LastIndexByte(method, '.') <= 0:
		return service.RejectedAsMalformed
	}
	return service.RejectedAsUnknown
}

// run calls the handler and turns a panic into errPanic.
func (s *Server) run(ctx context.Context, handler Handler, caller service.Caller, call *Call) (err error) {
	defer func() {
		if value := recover(); value != nil {
			s.log.Error("panic in a handler", "method", call.Method, callerAttr(caller),
				"panic", value, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return handler(ctx, caller, call)
}

// logUnknown writes an error that is not in the table. A handler that gave up
// because its context ended is not a defect.
func (s *Server) logUnknown(ctx context.Context, caller service.Caller, call *Call, err error) {
	level := slog.LevelError
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		level = slog.LevelDebug
	}
	s.log.LogAttrs(ctx, level, "call failed", slog.String("method", call.Method), callerAttr(caller), slog.Any("error", err))
}

// libraryConn is the connection as varlink/go gets it. It only writes: reading is for
// upgraded connections, which do not exist here.
type libraryConn struct {
	varlinkgo.ReadWriterContext
	conn *conn
}

// Write sends a whole frame, within the connection's deadline whatever the context says.
func (c libraryConn) Write(_ context.Context, frame []byte) (int, error) {
	return len(frame), c.conn.write(frame)
}

// introspection is an Interface as varlink/go wants it, to describe it.
type introspection struct{ Interface }

// VarlinkGetName is for varlink/go.
func (i introspection) VarlinkGetName() string { return i.Name }

// VarlinkGetDescription is for varlink/go.
func (i introspection) VarlinkGetDescription() string { return i.Description }

// VarlinkDispatch is for varlink/go, and returns errOurs.
func (i introspection) VarlinkDispatch(context.Context, varlinkgo.Call, string) error {
	return errOurs
}
