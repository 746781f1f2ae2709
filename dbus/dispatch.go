package dbus

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

const (
	// callTimeout bounds a call. Before that come the core's own deadlines, and
	// polkit's, which may be waiting for a person.
	callTimeout = 5 * time.Minute
	// launchTimeout is callTimeout for a launch, which may wait for its turn for
	// 10 minutes, and then start for as long.
	launchTimeout = 30 * time.Minute
)

// find returns the method that is called, or why there is none.
func (s *Server) find(r *request) (method, error) {
	o := s.objectAt(r.Path)
	if len(o.interfaces) == 0 {
		return method{}, errorf("UnknownObject", "no such object: %.200q", r.Path)
	}
	if r.Interface != "" && !o.has(r.Interface) {
		return method{}, errorf("UnknownInterface", "no such interface here: %.80q", r.Interface)
	}
	for _, i := range o.interfaces {
		if r.Interface != "" && r.Interface != i.name {
			continue
		}
		for _, m := range i.methods {
			if m.name == r.Member {
				return m, m.accepts(r.Signature)
			}
		}
	}
	return method{}, errorf("UnknownMethod", "no such method here: %.80q", r.Member)
}

// accepts says what is wrong with the signature of a call's body.
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

// answerTo hands the answer to a call to send, if somebody waits for it. Whatever
// happens, it ends this call only.
func (s *Server) answerTo(p *peer, c incoming, send func(*godbus.Message)) {
	r := &request{done: func() {}}
	defer func() {
		if value := recover(); value != nil {
			s.logger.Error("panic in a call", "method", r.Member, "sender", c.header.Sender, "uid", p.caller.UID,
				"panic", value, "stack", string(debug.Stack()))
			name, body, _ := onWire(errPanic)
			send(failureOf(c.header, name, body...))
		}
	}()
	defer func() { r.done() }()
	if err := r.decode(c.header, c.message); err != nil {
		send(failureOf(c.header, generic+"InvalidArgs", err.Error()))
		return
	}
	body, err := s.run(p.ctx, p.caller, r)
	switch {
	case p.ctx.Err() != nil:
	case err != nil:
		name, text := s.failure(p.ctx, p.caller, r, err)
		send(failureOf(c.header, name, text...))
	default:
		send(s.reply(c.header, r, body))
	}
}

// large waits until a long answer may be made, before it is: whoever may look can ask
// for many at once, and each takes some 20 MB for 800 sidecars until the bus has taken
// it. Root does not wait.
func (s *Server) large(ctx context.Context, c *call) error {
	if c.caller.UID == 0 {
		return nil
	}
	select {
	case s.answers <- struct{}{}:
		c.request.done = func() { <-s.answers }
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run carries out a call.
func (s *Server) run(ctx context.Context, caller service.Caller, r *request) ([]any, error) {
	m, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, errorf("InvalidArgs", "%v", err)
	}
	timeout := m.timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return m.handle(ctx, newCall(caller, r))
}

// errPanic is answered like any error that is not in the table.
var errPanic = errors.New("panic in a call")

// failure makes the answer of a call that failed. What nobody should see is logged;
// that a caller did not wait is no defect.
func (s *Server) failure(ctx context.Context, caller service.Caller, r *request, err error) (name string, body []any) {
	name, body, known := onWire(err)
	if !known {
		level := slog.LevelError
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			level = slog.LevelDebug
		}
		s.logger.LogAttrs(ctx, level, "call failed", slog.String("method", r.Member), slog.String("sender", r.sender),
			slog.Any("uid", caller.UID), slog.Any("error", err))
	}
	return name, body
}

// reply makes the answer of a call that succeeded, or an error if it is too long for
// the bus, which would hang up on us, or cannot be written.
func (s *Server) reply(h bus.Header, r *request, body []any) *godbus.Message {
	m := replyTo(h, body...)
	n, err := sizeOf(m)
	switch {
	case err != nil:
		s.logger.Error("answer cannot be written", "method", r.Member, "error", err)
		name, text, _ := onWire(err)
		return failureOf(h, name, text...)
	case n > s.limits.ReplyBytes:
		return failureOf(h, generic+"LimitsExceeded", "the answer is too long for the bus: select fewer sidecars, or use varlink")
	}
	return m
}
