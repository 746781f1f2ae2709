package dbusserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
	"tripleo.io/sidecar/service"
)

const (
	// callTimeout bounds a call. The core's own deadlines are shorter, and so are
	// polkit's, which may wait for a person.
	callTimeout = 5 * time.Minute
	// launchTimeout is callTimeout for a launch, which may wait for its turn for 10
	// minutes, and then start for as long.
	launchTimeout = 30 * time.Minute
)

// flagName is the parameter that is a message flag on D-Bus.
const flagName = "allowInteractiveAuthentication"

var (
	errMalformed = errors.New("malformed message")
	errPanic     = errors.New("panic in a call") // is answered as any unexpected error
)

// call is a method call.
type call struct {
	bus.Call
	header      bus.Header
	caller      service.Caller
	arguments   []any  // set when the signature is known to be the method's
	interactive *bool  // whether the caller can wait for a person to authenticate
	done        func() // called when the answer is sent
	long        bool   // whether the answer has more than longAnswer bytes
}

// longAnswer is how long an answer is whose memory is given back to the system at once. It
// takes ten times as much until it is sent, which the runtime would keep for minutes.
const longAnswer = 512 << 10

// open decodes the header of a call. The bus has checked it, but a decoder must not depend
// on that.
func (c *call) open(message []byte) (err error) {
	if c.header.Flags&godbus.FlagAllowInteractiveAuthorization != 0 {
		c.interactive = new(true)
	}
	if c.Call, err = bus.ParseCall(message); err != nil {
		return errMalformed
	}
	return nil
}

// decode reads the arguments.
func (c *call) decode() (err error) {
	c.arguments, err = readBody(c.Signature, c.Order, c.Body)
	return err
}

// text returns an argument that is a string.
func (c *call) text(at int) string {
	s, _ := c.arguments[at].(string)
	return s
}

// options sets fields of the struct that out points to from an argument that is a
// dictionary; without has names of varlink parameters that are not options.
func (c *call) options(at int, out any, without ...string) error {
	entries, _ := c.arguments[at].(map[string]godbus.Variant)
	return dict.Options(entries, out, append(without, flagName)...)
}

// sidecar returns the ID of the sidecar whose object is called, or else the first argument,
// and the position of the next argument.
func (c *call) sidecar() (id string, next int) {
	if id, ok := interfaces.ParsePath(c.Path); ok {
		return id.String(), 0
	}
	return c.text(0), 1
}

// answerTo passes the answer to a call to send, unless the caller has left. A panic ends
// this call only.
func (s *Server) answerTo(p *peer, in incoming, send func(*godbus.Message)) {
	c := &call{header: in.header, caller: p.caller, done: func() {}}
	defer func() {
		if value := recover(); value != nil {
			s.config.Logger.Error("panic in a call", "method", c.Member, "sender", c.header.Sender, "uid", c.caller.UID,
				"panic", value, "stack", string(debug.Stack()))
			name, body, _ := onWire(errPanic)
			send(failureOf(c.header, name, body...))
		}
	}()
	defer func() {
		c.done()
		if c.long {
			debug.FreeOSMemory()
		}
	}()
	if err := c.open(in.message); err != nil {
		s.config.Rejected(service.RejectedAsMalformed)
		send(failureOf(c.header, generic+"InvalidArgs", err.Error()))
		return
	}
	body, err := s.run(p.ctx, c)
	switch {
	case p.ctx.Err() != nil:
	case err != nil:
		if reason := rejectionOf(err); reason != "" {
			s.config.Rejected(reason)
		}
		name, text := s.failure(p.ctx, c, err)
		send(failureOf(c.header, name, text...))
	default:
		send(s.reply(c, body))
	}
}

// run carries out a call.
func (s *Server) run(ctx context.Context, c *call) ([]any, error) {
	m, err := s.find(c)
	if err != nil {
		return nil, err
	}
	if err := c.decode(); err != nil {
		return nil, errorf("InvalidArgs", "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(m.timeout, callTimeout))
	defer cancel()
	return m.handle(ctx, c)
}

// find returns the method that is called, or an error that tells what does not exist.
func (s *Server) find(c *call) (method, error) {
	o := s.objectAt(c.Path)
	if len(o.interfaces) == 0 {
		return method{}, errorf("UnknownObject", "no such object: %.200q", c.Path)
	}
	if c.Interface != "" && !o.has(c.Interface) {
		return method{}, errorf("UnknownInterface", "no such interface here: %.80q", c.Interface)
	}
	for _, i := range o.interfaces {
		if c.Interface != "" && c.Interface != i.name {
			continue
		}
		for _, m := range i.methods {
			if m.name == c.Member {
				return m, m.accepts(c.Signature)
			}
		}
	}
	return method{}, errorf("UnknownMethod", "no such method here: %.80q", c.Member)
}

// accepts returns an error if the signature is not the method's.
func (m method) accepts(signature string) error {
	want := signatureOf(m.in)
	switch {
	case signature == want:
		return nil
	case want == "":
		return errorf("InvalidArgs", "%s takes no arguments, and got some of type %.80q", m.name, signature)
	}
	return errorf("InvalidArgs", "%s takes arguments of type %q, and got %.80q", m.name, want, signature)
}

// large waits until a long answer may be made: everybody who may list can ask for many at
// once, and each takes some 20 MB for 800 sidecars until the bus has taken it. Root does
// not wait.
func (s *Server) large(ctx context.Context, c *call) error {
	if c.caller.UID == 0 {
		return nil
	}
	select {
	case s.answers <- struct{}{}:
		c.done = func() { <-s.answers }
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failure returns the name and body of the error that answers a call. It logs an
// unexpected error, which the caller does not see; that a caller did not wait is not a defect.
func (s *Server) failure(ctx context.Context, c *call, err error) (name string, body []any) {
	name, body, expected := onWire(err)
	if !expected {
		level := slog.LevelError
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			level = slog.LevelDebug
		}
		s.config.Logger.LogAttrs(ctx, level, "call failed", slog.String("method", c.Member),
			slog.String("sender", c.header.Sender), slog.Any("uid", c.caller.UID), slog.Any("error", err))
	}
	return name, body
}

// reply makes the answer of a call that succeeded, or an error if the answer cannot be
// encoded, or is too long: the bus would close the connection.
func (s *Server) reply(c *call, body []any) *godbus.Message {
	m := replyTo(c.header, body...)
	n, err := sizeOf(m)
	c.long = n > longAnswer
	switch {
	case err != nil:
		s.config.Logger.Error("answer cannot be written", "method", c.Member, "error", err)
		name, text, _ := onWire(err)
		return failureOf(c.header, name, text...)
	case n > s.config.Limits.ReplyBytes: // the core has carried the call out, so it is not told as rejected
		return failureOf(c.header, generic+"LimitsExceeded", "the answer is too long for the bus: select fewer sidecars, or use varlink")
	}
	return m
}
