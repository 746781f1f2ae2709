package dbus

import (
	"context"
	"errors"
	"fmt"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// generic is the prefix of the errors that everybody on a bus has, from the D-Bus
// specification and its reference implementation.
const generic = "org.freedesktop.DBus.Error."

// busError is an error of the bus's own things: objects, interfaces, properties.
// The others are in the table of package interfaces.
type busError struct{ name, text string }

func (e *busError) Error() string { return e.text }

func errorf(name, format string, values ...any) error {
	return &busError{generic + name, fmt.Sprintf(format, values...)}
}

// onWire is what a caller gets for an error: its name on D-Bus, and a body of a text
// for people and, if the error has them, its parameters. known is false for an error
// that nobody should see.
func onWire(err error) (name string, body []any, known bool) {
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

// bodyOf makes the body of an error of the table. The text says no more than the
// parameters do, whatever the error wraps.
func bodyOf(row interfaces.ErrorRow, parameters any) []any {
	if invalid, ok := parameters.(*interfaces.InvalidParameterError); ok {
		// Here the parameters have the names of options.
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
