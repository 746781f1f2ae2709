package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

var (
	// ErrNoSuchUnit says that systemd has no such unit, or only an inactive one
	// without a job, which it forgets on its own.
	ErrNoSuchUnit = errors.New("no such unit")
	// ErrUnitExists says that a unit of this name is there already: running,
	// failed, or from a unit file.
	ErrUnitExists = errors.New("unit exists already")
	// ErrDisconnected says that no answer came: the bus went away, or the
	// deadline passed. The outcome of the call is unknown; read the unit.
	// systemd answers in order, so what [Conn.Get] says then includes the call,
	// if it ever arrived.
	ErrDisconnected = errors.New("no answer from systemd")
	// ErrClosed is the error of all calls after Close.
	ErrClosed = errors.New("connection to systemd is closed")
)

// Kinds of ErrDisconnected that differ in what may be tried again.
var (
	// errNotSent: systemd has never seen the call.
	errNotSent = fmt.Errorf("not sent: %w", ErrDisconnected)
	// errNoReply: the bus says that systemd left without answering. It may have
	// done what was asked.
	errNoReply = fmt.Errorf("no reply: %w", ErrDisconnected)
	// errLost: systemd took the call but forgot the unit before it ran.
	errLost = fmt.Errorf("unit was lost: %w", ErrDisconnected)
)

// JobError says that a job ended otherwise than by being done. The unit that
// comes with it tells why: its Result, ExecMainCode and ExecMainStatus.
type JobError struct {
	Unit string
	// Result is JobRemoved's, as in org.freedesktop.systemd1(5): "failed",
	// "canceled", "timeout", "dependency", "skipped" and others. A start that
	// took longer than the unit's TimeoutStartUSec is "failed" here and
	// "timeout" in the unit's Result; "timeout" here is the job's own.
	Result string
}

// Error implements error.
func (e *JobError) Error() string {
	return fmt.Sprintf("job of unit %s: %s", e.Unit, e.Result)
}

// busErrors are the D-Bus errors that callers branch on. ServiceUnknown and
// NameHasNoOwner come from the bus itself while systemd executes itself anew.
// See bus-common-errors.h of systemd and dbus-protocol.h.
func busErrors(name string) error {
	switch name {
	case "org.freedesktop.systemd1.UnitExists":
		return ErrUnitExists
	case "org.freedesktop.systemd1.NoSuchUnit":
		return ErrNoSuchUnit
	case "org.freedesktop.DBus.Error.ServiceUnknown",
		"org.freedesktop.DBus.Error.NameHasNoOwner":
		return errNotSent
	case "org.freedesktop.DBus.Error.NoReply",
		"org.freedesktop.DBus.Error.Disconnected":
		return errNoReply
	}
	return nil
}

// translate gives the error of a call in this package's terms. ctx is the
// caller's, without the time limit of the single call.
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

// isEncoding reports whether godbus refused to build the message, for example for
// a text with a NUL. Nothing was written then.
func isEncoding(err error) bool {
	var format dbus.FormatError
	var message dbus.InvalidMessageError
	var kind dbus.InvalidTypeError
	return errors.As(err, &format) || errors.As(err, &message) || errors.As(err, &kind)
}
