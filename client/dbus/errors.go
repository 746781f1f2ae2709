package dbus

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
)

// failure is the Go error of a call that failed. parameters are the call's, for their names.
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

// answered is the Go error for an error reply of the service or of the bus.
func (s *session) answered(answer godbus.Error, parameters any) error {
	text := ""
	if len(answer.Body) > 0 {
		text, _ = answer.Body[0].(string)
	}
	switch answer.Name {
	case bus.ErrorPrefix + "NoReply", bus.ErrorPrefix + "Disconnected":
		return client.ErrInterrupted
	case bus.ErrorPrefix + "ServiceUnknown", bus.ErrorPrefix + "NameHasNoOwner":
		return &client.UnreachableError{Address: s.address, Err: inWords(answer)}
	case bus.ErrorPrefix + "LimitsExceeded":
		return &interfaces.OverloadedError{Reason: text}
	case bus.ErrorPrefix + "Timeout":
		return fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
	}
	if err, known := interfaces.FromDBus(answer.Name, detailIn(answer.Body)); known {
		return withText(withNames(err, parameters), text)
	}
	return &client.UnknownError{Name: answer.Name, Text: text}
}

// detailIn returns a decoder of the parameters in the body of an error, which follow the
// text.
func detailIn(body []any) func(interfaces.Detail) error {
	return func(d interfaces.Detail) error {
		entries, err := value[map[string]godbus.Variant](body, 1)
		if err != nil {
			return err
		}
		return dict.Decode(entries, d)
	}
}

// withNames replaces the option in an invalid parameter's error by its name in the contract.
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

// withText adds the text to an error that came without the parameters it should have: the
// bus made it, or it is about the form of the call.
func withText(err error, text string) error {
	for _, row := range interfaces.Errors {
		if err == row.Err && row.New != nil && text != "" { // the sentinel itself
			return fmt.Errorf("%w: %.500s", err, text)
		}
	}
	return err
}

// nameOf returns the D-Bus name of an error reply, or "".
func nameOf(err error) string {
	var answer godbus.Error
	_ = errors.As(err, &answer)
	return answer.Name
}

// inWords explains an error reply of the bus.
func inWords(err error) error {
	switch name := nameOf(err); name {
	case "":
		return err
	case bus.ErrorPrefix + "ServiceUnknown", bus.ErrorPrefix + "NameHasNoOwner":
		return fmt.Errorf("%s is not on the bus", interfaces.BusName)
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
}

// timedOut is the error of a call whose context has ended.
func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("the call was given up: %w", ctx.Err())
	}
	return fmt.Errorf("no answer from the service in time: %w", ctx.Err())
}
