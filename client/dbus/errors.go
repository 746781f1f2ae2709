package dbus

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// generic is the prefix of the errors that everybody on a bus has, from the D-Bus
// specification and its reference implementation.
const generic = "org.freedesktop.DBus.Error."

// failure is the Go error of a call that failed. Its parameters are those of the
// call, for their names.
func (s *session) failure(ctx context.Context, err error, parameters any) error {
	var answer godbus.Error
	switch {
	case ctx.Err() != nil:
		return timedOut(ctx)
	case errors.As(err, &answer):
		return s.answered(answer, parameters)
	case s.conn.Context().Err() != nil:
		return client.ErrInterrupted
	}
	return err // nothing was sent
}

// answered is the Go error for an error reply, of the service or of the bus.
func (s *session) answered(answer godbus.Error, parameters any) error {
	text := ""
	if len(answer.Body) > 0 {
		text, _ = answer.Body[0].(string)
	}
	switch answer.Name {
	case generic + "NoReply", generic + "Disconnected":
		return client.ErrInterrupted
	case generic + "ServiceUnknown", generic + "NameHasNoOwner":
		return &client.UnreachableError{Address: s.address, Err: inWords(answer)}
	case generic + "LimitsExceeded":
		return &interfaces.OverloadedError{Reason: text}
	case generic + "Timeout":
		return fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
	}
	if err, known := interfaces.FromDBus(answer.Name, detailIn(answer.Body)); known {
		return withText(withNames(err, parameters), text)
	}
	return &client.UnknownError{Name: answer.Name, Text: text}
}

var errNoParameters = errors.New("no parameters")

// detailIn returns what reads the parameters in the body of an error, which follow
// the text.
func detailIn(body []any) func(interfaces.Detail) error {
	return func(d interfaces.Detail) error {
		if len(body) < 2 {
			return errNoParameters
		}
		entries, ok := body[1].(map[string]godbus.Variant)
		if !ok {
			return errNoParameters
		}
		return dict.Decode(entries, d)
	}
}

// withNames gives a parameter that is refused its name in the contract: on D-Bus it
// has that of an option.
func withNames(err error, parameters any) error {
	var invalid *interfaces.InvalidParameterError
	if !errors.As(err, &invalid) || parameters == nil {
		return err
	}
	for _, f := range dict.Fields(reflect.TypeOf(parameters)) {
		if f.Option == invalid.Parameter {
			return &interfaces.InvalidParameterError{Parameter: f.Name, Reason: invalid.Reason}
		}
	}
	return err
}

// withText adds the text to an error without parameters that should have some: it
// comes from the bus, or is about the form of the call.
func withText(err error, text string) error {
	for _, row := range interfaces.Errors {
		if err == row.Err && row.New != nil && text != "" { // the sentinel itself
			return fmt.Errorf("%w: %.500s", err, text)
		}
	}
	return err
}

func isError(err error, name string) bool {
	var answer godbus.Error
	return errors.As(err, &answer) && answer.Name == name
}

// timedOut says that the call ended because its context did.
func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("the call was given up: %w", ctx.Err())
	}
	return fmt.Errorf("no answer from the service in time: %w", ctx.Err())
}
