package dbusserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
	"tripleo.io/sidecar/service"
)

const generic = bus.ErrorPrefix

// busError is an error about D-Bus's own concepts: objects, interfaces, properties. The
// other errors are in the table of package interfaces.
type busError struct{ name, text string }

func (e *busError) Error() string { return e.text }

func errorf(name, format string, values ...any) error {
	return &busError{generic + name, fmt.Sprintf(format, values...)}
}

// onWire returns the name of an error on D-Bus, and its body: a text for people, and the
// error's parameters, if it has any. An unexpected error is HostFailure, without its text.
func onWire(err error) (name string, body []any, expected bool) {
	var own *busError
	var field *dict.FieldError
	switch {
	case errors.As(err, &own):
		return own.name, []any{dict.Text(own.text)}, true
	case errors.As(err, &field):
		err = &interfaces.InvalidParameterError{Parameter: field.Key, Reason: field.Reason}
	}
	row, parameters, ok := interfaces.ToWire(err)
	switch {
	case ok:
		return row.DBus, bodyOf(row, parameters), true
	case errors.Is(err, context.DeadlineExceeded):
		return generic + "Timeout", []any{"the call took too long"}, true
	}
	name, body, _ = onWire(interfaces.Unexpected())
	return name, body, false
}

// rejectionOf returns why a call is answered without the core, "" if the error is the core's.
func rejectionOf(err error) service.Rejection {
	var own *busError
	var field *dict.FieldError
	switch {
	case errors.As(err, &field):
		return service.RejectedAsMalformed
	case !errors.As(err, &own):
		return ""
	case own.name == generic+"LimitsExceeded":
		return service.RejectedByLimit
	case own.name == generic+"InvalidArgs":
		return service.RejectedAsMalformed
	}
	return service.RejectedAsUnknown
}

// bodyOf makes the body of an error of the table. The text is made of the parameters alone,
// whatever the error wraps.
func bodyOf(row interfaces.ErrorRow, parameters any) []any {
	if invalid, ok := parameters.(*interfaces.InvalidParameterError); ok {
		// On D-Bus the parameters have the names of options.
		renamed := *invalid
		renamed.Parameter = dict.Option(invalid.Parameter)
		parameters = &renamed
	}
	detail, ok := parameters.(interfaces.Detail)
	if !ok {
		return []any{dict.Text(row.Err.Error())}
	}
	return []any{dict.Text(detail.Error()), dict.Encode(detail)}
}

// replyTo answers the call with the header h.
func replyTo(h bus.Header, body ...any) *godbus.Message {
	return answer(godbus.TypeMethodReply, h, body)
}

// failureOf answers the call with the header h by an error.
func failureOf(h bus.Header, name string, body ...any) *godbus.Message {
	m := answer(godbus.TypeError, h, body)
	m.Headers[godbus.FieldErrorName] = godbus.MakeVariant(name)
	return m
}

func answer(kind godbus.Type, h bus.Header, body []any) *godbus.Message {
	m := &godbus.Message{
		Type:  kind,
		Flags: godbus.FlagNoReplyExpected,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: godbus.MakeVariant(h.Sender),
			godbus.FieldReplySerial: godbus.MakeVariant(h.Serial),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(body...))
	}
	return m
}

// sizeOf is the length of a message on the wire. The error says that the message cannot be
// encoded.
func sizeOf(m *godbus.Message) (int, error) {
	var n counter
	err := m.EncodeTo(&n, binary.LittleEndian)
	return int(n), err
}

type counter int

// Write implements io.Writer.
func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
