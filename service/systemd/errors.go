package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

var (
	// ErrNoSuchUnit says that systemd does not know the unit, or will forget it, because
	// it is inactive and has no job.
	ErrNoSuchUnit = errors.New("no such unit")
	// ErrUnitExists says that a unit of this name exists: running, failed, or from a unit
	// file.
	ErrUnitExists = errors.New("unit exists already")
	// ErrDisconnected says that no answer came: the bus ended, or the deadline passed.
	// The outcome of the call is unknown; read the unit. systemd answers in order, so
	// [Conn.Get] then shows the outcome of the call, if the call arrived.
	ErrDisconnected = errors.New("no answer from systemd")
	// ErrClosed is the error of all calls after Close.
	ErrClosed = errors.New("connection to systemd is closed")
)

// Kinds of ErrDisconnected that differ in what may be tried again.
var (
	// errNotSent: systemd has never got the call.
	errNotSent = fmt.Errorf("not sent: %w", ErrDisconnected)
	// errNoReply: systemd left the bus without answering. It may have carried the call
	// out.
	errNoReply = fmt.Errorf("no reply: %w", ErrDisconnected)
	// errLost: systemd accepted the call and lost the unit before it ran.
	errLost = fmt.Errorf("unit was lost: %w", ErrDisconnected)
)

// JobError says that a job ended with another result than "done". Result, ExecMainCode and
// ExecMainStatus of the unit that comes with it tell why.
type JobError struct {
	Unit string
	// Result is JobRemoved's, as in org.freedesktop.systemd1(5): "failed", "canceled",
	// "timeout", "dependency", "skipped" and others. "timeout" is the job's own: a start
	// that exceeds the unit's TimeoutStartUSec is "failed" here and "timeout" in the
	// unit's Result.
	Result string
}

// Error implements error.
func (e *JobError) Error() string {
	return fmt.Sprintf("job of unit %s: %s", e.Unit, e.Result)
}

// busErrors are the D-Bus errors that callers branch on (systemd's bus-common-errors.h,
// dbus-protocol.h). ServiceUnknown and NameHasNoOwner come from the bus while systemd
// re-executes itself.
func busErrors(name string) error {
	switch name {
	case "org.freedesktop.systemd1.UnitExists":
		return ErrUnitExists
	case "org.freedesktop.systemd1.NoSuchUnit":
		return ErrNoSuchUnit
	case bus.ErrorPrefix + "ServiceUnknown", bus.ErrorPrefix + "NameHasNoOwner":
		return errNotSent
	case bus.ErrorPrefix + "NoReply", bus.ErrorPrefix + "Disconnected":
		return errNoReply
	}
	return nil
}

// translate turns the error of a call into one of this package's. ctx is the caller's,
// without CallTimeout.
func translate(ctx context.Context, method string, err error) error {
	var answer dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		if known := busErrors(answer.Name); known != nil {
			return fmt.Errorf("%s: %w", method, known)
		}
		return fmt.Errorf("%s: %s: %s", method, answer.Name, answer.Error())
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", method, ctx.Err())
	case errors.Is(err, dbus.ErrClosed): // godbus refuses before it writes
		return fmt.Errorf("%s: %w", method, errNotSent)
	case isEncoding(err):
		return fmt.Errorf("%s: cannot be encoded: %s", method, err.Error())
	}
	return fmt.Errorf("%s: %w (%s)", method, ErrDisconnected, err.Error())
}

// isEncoding reports whether godbus refused to encode the message, because of a NUL for
// example. Nothing was written then.
func isEncoding(err error) bool {
	var format dbus.FormatError
	var message dbus.InvalidMessageError
	var kind dbus.InvalidTypeError
	return errors.As(err, &format) || errors.As(err, &message) || errors.As(err, &kind)
}
