package interfaces

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
)

// Detail is an error with parameters: one of the Error types of this package,
// as a pointer. On the wire it is its JSON; it unwraps to its sentinel.
type Detail interface {
	error
	Unwrap() error
}

// ErrorRow ties a Go error to its names on the wire.
type ErrorRow struct {
	Err     error  // the sentinel
	Varlink string // full name of the varlink error
	DBus    string // full name of the D-Bus error
	New     func() Detail
}

const (
	genericVarlink = "org.varlink.service."
	systemdVarlink = "io.systemd." // systemd's addition to varlink's generic errors
	ownDBus        = "io.tripleo.Sidecar1.Error."
	genericDBus    = "org.freedesktop.DBus.Error."
)

// Errors is the one table of errors: Go sentinel, varlink name, D-Bus name.
var Errors = []ErrorRow{
	own(ErrNoSuchSidecar, "NoSuchSidecar", func() Detail { return &NoSuchSidecarError{} }),
	own(ErrNoSuchAgent, "NoSuchAgent", func() Detail { return &NoSuchAgentError{} }),
	own(ErrNoSuchProfile, "NoSuchProfile", func() Detail { return &NoSuchProfileError{} }),
	own(ErrNoSuchNetworkNamespace, "NoSuchNetworkNamespace", func() Detail { return &NoSuchNetworkNamespaceError{} }),
	own(ErrNamespaceNotAllowed, "NamespaceNotAllowed", func() Detail { return &NamespaceNotAllowedError{} }),
	own(ErrNamespaceExists, "NamespaceExists", func() Detail { return &NamespaceExistsError{} }),
	own(ErrNamespaceInUse, "NamespaceInUse", func() Detail { return &NamespaceInUseError{} }),
	own(ErrTooManyNamespaces, "TooManyNamespaces", func() Detail { return &TooManyNamespacesError{} }),
	own(ErrArgumentNotAllowed, "ArgumentNotAllowed", func() Detail { return &ArgumentNotAllowedError{} }),
	own(ErrSidecarExists, "SidecarExists", func() Detail { return &SidecarExistsError{} }),
	own(ErrTooManySidecars, "TooManySidecars", func() Detail { return &TooManySidecarsError{} }),
	own(ErrLaunchFailed, "LaunchFailed", func() Detail { return &LaunchFailedError{} }),
	own(ErrNotReady, "NotReady", func() Detail { return &NotReadyError{} }),
	own(ErrLaunchStopped, "LaunchStopped", func() Detail { return &LaunchStoppedError{} }),
	own(ErrOverloaded, "Overloaded", func() Detail { return &OverloadedError{} }),
	own(ErrHostFailure, "HostFailure", func() Detail { return &HostFailureError{} }),
	{ErrInvalidParameter, genericVarlink + "InvalidParameter", genericDBus + "InvalidArgs", func() Detail { return &InvalidParameterError{} }},
	{ErrPermissionDenied, genericVarlink + "PermissionDenied", genericDBus + "AccessDenied", func() Detail { return &PermissionDeniedError{} }},
	{ErrInteractiveAuthenticationRequired, systemdVarlink + "InteractiveAuthenticationRequired", genericDBus + "InteractiveAuthorizationRequired", nil},
	{ErrExpectedMore, genericVarlink + "ExpectedMore", genericDBus + "InvalidArgs", nil},
	{ErrMethodNotFound, genericVarlink + "MethodNotFound", genericDBus + "UnknownMethod", func() Detail { return &MethodNotFoundError{} }},
}

func own(err error, name string, detail func() Detail) ErrorRow {
	return ErrorRow{err, Name + "." + name, ownDBus + name, detail}
}

// Name is the name of the error without the name of its interface.
func (row ErrorRow) Name() string { return row.Varlink[strings.LastIndexByte(row.Varlink, '.')+1:] }

// ToWire finds the row of err, and the value whose JSON is its parameters (nil:
// none). An error outside the interface has no row.
func ToWire(err error) (row ErrorRow, parameters any, ok bool) {
	for _, row := range Errors {
		if !errors.Is(err, row.Err) {
			continue
		}
		if row.New == nil {
			return row, nil, true
		}
		return row, detailOf(err, row), true
	}
	return ErrorRow{}, nil, false
}

// detailOf finds the row's parameters in err's tree; a bare sentinel gets empty
// ones.
func detailOf(err error, row ErrorRow) Detail {
	detail := row.New()
	found := reflect.New(reflect.TypeOf(detail))
	if errors.As(err, found.Interface()) {
		detail, _ = found.Elem().Interface().(Detail)
	}
	return detail
}

// FromVarlink returns the Go error for an error reply. A name that is not in
// the table gives false.
func FromVarlink(name string, parameters []byte) (error, bool) {
	for _, row := range Errors {
		if row.Varlink == name {
			return row.with(func(d Detail) error {
				if len(parameters) == 0 {
					return nil
				}
				return json.Unmarshal(parameters, d)
			}), true
		}
	}
	return nil, false
}

// FromDBus returns the Go error for an error reply whose parameters decode sets,
// and of errors with the same name the first one. A name that is not in the table
// gives false.
func FromDBus(name string, decode func(Detail) error) (error, bool) {
	for _, row := range Errors {
		if row.DBus == name {
			return row.with(decode), true
		}
	}
	return nil, false
}

// with returns the row's error with its parameters, or the sentinel if they are
// missing or malformed.
func (row ErrorRow) with(decode func(Detail) error) error {
	if row.New == nil {
		return row.Err
	}
	detail := row.New()
	if decode(detail) != nil {
		return row.Err
	}
	return detail
}
