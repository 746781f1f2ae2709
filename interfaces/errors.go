package interfaces

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of the interface, for errors.Is. If an error has parameters,
// errors.As finds them in the type NAMEError.
var (
	ErrNoSuchSidecar          = errors.New("no such sidecar")
	ErrNoSuchAgent            = errors.New("no such agent")
	ErrNoSuchProfile          = errors.New("no such profile")
	ErrNoSuchNetworkNamespace = errors.New("no such network namespace")
	ErrNamespaceNotAllowed    = errors.New("network namespace not allowed")
	ErrNamespaceExists        = errors.New("the network namespace already exists")
	ErrNamespaceInUse         = errors.New("the network namespace is in use")
	ErrTooManyNamespaces      = errors.New("too many network namespaces")
	ErrArgumentNotAllowed     = errors.New("argument not allowed")
	ErrSidecarExists          = errors.New("the sidecar already exists")
	ErrTooManySidecars        = errors.New("too many sidecars")
	ErrLaunchFailed           = errors.New("launch failed")
	ErrNotReady               = errors.New("not ready in time")
	ErrLaunchStopped          = errors.New("the launch was stopped")
	ErrOverloaded             = errors.New("the service is overloaded")
	ErrHostFailure            = errors.New("the host failed")

	// The generic errors of org.varlink.service.
	ErrInvalidParameter = errors.New("invalid parameter")
	ErrPermissionDenied = errors.New("permission denied")
	ErrExpectedMore     = errors.New("the call needs the 'more' flag")
	ErrMethodNotFound   = errors.New("no such method")

	// ErrInteractiveAuthenticationRequired: a person must authenticate, but the
	// caller does not allow asking (allowInteractiveAuthentication), or nobody can be
	// asked. systemd's varlink services have the same error.
	ErrInteractiveAuthenticationRequired = errors.New("interactive authentication required")
)

// NoSuchSidecarError names the ID, or nil if other selectors matched nothing.
type NoSuchSidecarError struct {
	ID *string `json:"id,omitempty"`
}

func (e *NoSuchSidecarError) Unwrap() error { return ErrNoSuchSidecar }
func (e *NoSuchSidecarError) Error() string {
	if e.ID == nil {
		return "no sidecar matches"
	}
	return fmt.Sprintf("no such sidecar: %q", *e.ID)
}

// NoSuchAgentError names the agent that has no file on the host.
type NoSuchAgentError struct {
	Agent string `json:"agent"`
}

func (e *NoSuchAgentError) Unwrap() error { return ErrNoSuchAgent }
func (e *NoSuchAgentError) Error() string { return fmt.Sprintf("no such agent: %q", e.Agent) }

// NoSuchProfileError names a profile that does not exist or is not granted.
type NoSuchProfileError struct {
	Profile string `json:"profile"`
}

func (e *NoSuchProfileError) Unwrap() error { return ErrNoSuchProfile }
func (e *NoSuchProfileError) Error() string {
	return fmt.Sprintf("no such profile for this agent: %q", e.Profile)
}

// NoSuchNetworkNamespaceError names the namespace (nil: the caller's own) and
// says what is wrong with it.
type NoSuchNetworkNamespaceError struct {
	NetworkNamespace *string `json:"networkNamespace,omitempty"`
	Reason           string  `json:"reason"`
}

func (e *NoSuchNetworkNamespaceError) Unwrap() error { return ErrNoSuchNetworkNamespace }
func (e *NoSuchNetworkNamespaceError) Error() string {
	return fmt.Sprintf("network namespace %s: %s", orOwn(e.NetworkNamespace, "of the caller"), e.Reason)
}

// NamespaceNotAllowedError names the namespace (nil: the host's own) and says
// what would be accepted.
type NamespaceNotAllowedError struct {
	NetworkNamespace *string `json:"networkNamespace,omitempty"`
	Reason           string  `json:"reason"`
}

func (e *NamespaceNotAllowedError) Unwrap() error { return ErrNamespaceNotAllowed }
func (e *NamespaceNotAllowedError) Error() string {
	return fmt.Sprintf("network namespace %s not allowed: %s", orOwn(e.NetworkNamespace, "of the host"), e.Reason)
}

// NamespaceExistsError names a network namespace that exists already.
type NamespaceExistsError struct {
	NetworkNamespace string `json:"networkNamespace"`
}

func (e *NamespaceExistsError) Unwrap() error { return ErrNamespaceExists }
func (e *NamespaceExistsError) Error() string {
	return fmt.Sprintf("network namespace %q already exists", e.NetworkNamespace)
}

// NamespaceInUseError names the sidecars in a network namespace that the caller may see.
type NamespaceInUseError struct {
	NetworkNamespace string   `json:"networkNamespace"`
	Sidecars         []string `json:"sidecars"`
}

func (e *NamespaceInUseError) Unwrap() error { return ErrNamespaceInUse }
func (e *NamespaceInUseError) Error() string {
	if len(e.Sidecars) == 0 {
		return fmt.Sprintf("network namespace %q is in use by sidecars of other agents", e.NetworkNamespace)
	}
	return fmt.Sprintf("network namespace %q is in use by sidecars: %s", e.NetworkNamespace, strings.Join(e.Sidecars, ", "))
}

// TooManyNamespacesError says how many network namespaces the agent may have made for it.
type TooManyNamespacesError struct {
	Limit int64 `json:"limit"`
}

func (e *TooManyNamespacesError) Unwrap() error { return ErrTooManyNamespaces }
func (e *TooManyNamespacesError) Error() string {
	return fmt.Sprintf("too many network namespaces: the agent may have %d made", e.Limit)
}

// ArgumentNotAllowedError says which argument no rule accepts, and why.
type ArgumentNotAllowedError struct {
	Index    int64   `json:"index"`    // from 0; -1: an argument is missing
	Argument string  `json:"argument"` // cut if it is long
	Rule     *string `json:"rule,omitempty"`
	Reason   string  `json:"reason"`
}

func (e *ArgumentNotAllowedError) Unwrap() error { return ErrArgumentNotAllowed }
func (e *ArgumentNotAllowedError) Error() string {
	if e.Index < 0 {
		return "argument missing: " + e.Reason
	}
	return fmt.Sprintf("argument %d (%q) not allowed: %s", e.Index, e.Argument, e.Reason)
}

// SidecarExistsError names the sidecar that already exists.
type SidecarExistsError struct {
	ID string `json:"id"`
}

func (e *SidecarExistsError) Unwrap() error { return ErrSidecarExists }
func (e *SidecarExistsError) Error() string { return fmt.Sprintf("sidecar %s already exists", e.ID) }

// TooManySidecarsError says how many sidecars the agent may have.
type TooManySidecarsError struct {
	Limit int64 `json:"limit"`
}

func (e *TooManySidecarsError) Unwrap() error { return ErrTooManySidecars }
func (e *TooManySidecarsError) Error() string {
	return fmt.Sprintf("too many sidecars: the agent may have %d", e.Limit)
}

// LaunchFailedError says which part of the launch failed, how the process ended, and what it
// wrote last.
type LaunchFailedError struct {
	Phase       *LaunchPhase `json:"phase,omitempty"`  // nil: not known
	Reason      *string      `json:"reason,omitempty"` // in words, if sidecar-launch knows it
	ExitCode    *int64       `json:"exitCode,omitempty"`
	ExitSignal  *string      `json:"exitSignal,omitempty"`
	Result      *string      `json:"result,omitempty"` // systemd's
	MemoryLimit *MemoryLimit `json:"memoryLimit,omitempty"`
	Output      []string     `json:"output"`
}

func (e *LaunchFailedError) Unwrap() error { return ErrLaunchFailed }
func (e *LaunchFailedError) Error() string {
	how := "could not be started"
	switch {
	case e.Result != nil && *e.Result == ResultOutOfMemory:
		how = "out of memory"
		if e.MemoryLimit != nil {
			how += ", at the limit of the " + string(*e.MemoryLimit)
		}
	case e.Phase != nil && *e.Phase != PhasePayload && e.Reason != nil:
		how = "in " + string(*e.Phase) + ": " + *e.Reason
	case e.ExitSignal != nil:
		how = "ended by " + *e.ExitSignal
	case e.ExitCode != nil:
		how = fmt.Sprintf("exit code %d", *e.ExitCode)
	}
	return "launch failed: " + how + lines(e.Output)
}

// NotReadyError has the time-out of the start, and the process's last lines.
type NotReadyError struct {
	TimeoutUSec int64    `json:"timeoutUSec"`
	Output      []string `json:"output"`
}

func (e *NotReadyError) Unwrap() error { return ErrNotReady }
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("not ready after %g s; stopped again%s", float64(e.TimeoutUSec)/1e6, lines(e.Output))
}

// LaunchStoppedError names the sidecar that was stopped while its launch waited for
// its turn or was under way. The launch left nothing behind.
type LaunchStoppedError struct {
	ID string `json:"id"`
}

func (e *LaunchStoppedError) Unwrap() error { return ErrLaunchStopped }
func (e *LaunchStoppedError) Error() string {
	return fmt.Sprintf("sidecar %s was stopped before it was ready", e.ID)
}

// OverloadedError says which limit was reached, or which wait took too long.
// Nothing was started.
type OverloadedError struct {
	Reason string `json:"reason"`
}

func (e *OverloadedError) Unwrap() error { return ErrOverloaded }
func (e *OverloadedError) Error() string { return "overloaded: " + e.Reason }

// HostFailureError says what failed on the host.
type HostFailureError struct {
	Reason string `json:"reason"`
}

// Unexpected is the error that callers get for every error outside the interface.
// It hides the cause, which is in the service's log.
func Unexpected() *HostFailureError {
	return &HostFailureError{Reason: "internal error; the service's log on the host has the details"}
}

func (e *HostFailureError) Unwrap() error { return ErrHostFailure }
func (e *HostFailureError) Error() string { return "host failure: " + e.Reason }

// InvalidParameterError names the parameter and says what would be right. Reason
// is an addition to org.varlink.service.InvalidParameter, which other clients ignore.
type InvalidParameterError struct {
	Parameter string `json:"parameter"`
	Reason    string `json:"reason,omitempty"`
}

func (e *InvalidParameterError) Unwrap() error { return ErrInvalidParameter }
func (e *InvalidParameterError) Error() string {
	if e.Reason == "" {
		return "invalid parameter " + e.Parameter
	}
	return fmt.Sprintf("invalid parameter %s: %s", e.Parameter, e.Reason)
}

// PermissionDeniedError says why, if a reason is known. Reason is an addition to
// org.varlink.service.PermissionDenied.
type PermissionDeniedError struct {
	Reason string `json:"reason,omitempty"`
}

func (e *PermissionDeniedError) Unwrap() error { return ErrPermissionDenied }
func (e *PermissionDeniedError) Error() string {
	if e.Reason == "" {
		return ErrPermissionDenied.Error()
	}
	return ErrPermissionDenied.Error() + ": " + e.Reason
}

// MethodNotFoundError names the method that the service does not have.
type MethodNotFoundError struct {
	Method string `json:"method"`
}

func (e *MethodNotFoundError) Unwrap() error { return ErrMethodNotFound }
func (e *MethodNotFoundError) Error() string { return "no such method: " + e.Method }

func orOwn(name *string, own string) string {
	if name == nil {
		return own
	}
	return fmt.Sprintf("%q", *name)
}

func lines(output []string) string {
	if len(output) == 0 {
		return ""
	}
	return "\n" + strings.Join(output, "\n")
}
