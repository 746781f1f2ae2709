package main

import (
	"context"
	"errors"
	"strings"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/paths"
)

// The exit codes are part of the tool's interface: sidecarctl(1) and the long help list
// them.
const (
	exitOK            = 0
	exitFailure       = 1 // any other reason
	exitUsage         = 2 // the command line is wrong, or a value is malformed
	exitRefused       = 3 // by the host's policy
	exitNoSuchSidecar = 4
	exitLaunchFailed  = 5 // or not ready in time, or stopped before
	exitUnreachable   = 6 // no service, or no answer
	exitWarnings      = 7 // found by doctor, and no errors
	exitErrors        = 8 // found by doctor
)

// outcome is the exit code of an error, and what can be done about the error.
type outcome struct {
	err  error
	code int
	hint string
}

// errMonitorEnded ends a stream of events, errLogEnded one of log entries.
var (
	errMonitorEnded = errors.New("the service has ended, or restarts")
	errLogEnded     = errors.New("the service has ended, or restarts: no more entries follow")
)

const (
	hintAuthenticate = "polkit wants authentication: use a terminal (without --no-ask-password), be root," +
		" or add a polkit rule that allows it"
	hintNotReady = "'timeout' under 'ready' in the profile is the limit, --timeout only makes it shorter;" +
		" 'sidecarctl explain' with the same arguments shows what the launch waits for"
	hintUnknown = "the call may have been carried out: 'sidecarctl list' shows it"
)

var outcomes = []outcome{
	{interfaces.ErrInvalidParameter, exitUsage, "'sidecarctl COMMAND --help' says what is expected"},
	{interfaces.ErrArgumentNotAllowed, exitRefused, "'sidecarctl profiles NAME' shows the rules, 'sidecarctl explain' tries without starting anything"},
	{interfaces.ErrNamespaceNotAllowed, exitRefused, "network-namespaces in the agent's file lists the agent's namespaces, create-namespaces those that it may have made"},
	{interfaces.ErrNoSuchProfile, exitRefused, "'sidecarctl profiles' lists the profiles, 'sidecarctl check' the profiles of each agent"},
	{interfaces.ErrNoSuchAgent, exitRefused, "an agent is a file in " + paths.Host + "/agents.d; 'sidecarctl check' lists them"},
	{interfaces.ErrTooManySidecars, exitRefused, "max-sidecars in the agent's file is the limit; 'sidecarctl list --agent AGENT' lists its sidecars"},
	{interfaces.ErrTooManyNamespaces, exitRefused, "max-namespaces in the agent's file is the limit; 'systemctl list-units sidecar-namespace:*' lists them"},
	{interfaces.ErrPermissionDenied, exitRefused, "the host's socket is for root and for users whom polkit allows; an agent uses its own socket"},
	{interfaces.ErrInteractiveAuthenticationRequired, exitRefused, hintAuthenticate},
	{interfaces.ErrNoSuchSidecar, exitNoSuchSidecar, "'sidecarctl list' lists the sidecars"},
	{interfaces.ErrLaunchFailed, exitLaunchFailed, "'sidecarctl explain' with the same arguments shows the unit, 'sidecarctl list' the failed sidecar"},
	{interfaces.ErrNotReady, exitLaunchFailed, hintNotReady},
	{interfaces.ErrLaunchStopped, exitLaunchFailed, "'journalctl SIDECAR_ID=ID METHOD=Stop' says who stopped it"},
	{interfaces.ErrNoSuchNetworkNamespace, exitFailure, "'ip netns list' lists the host's network namespaces"},
	{interfaces.ErrNamespaceExists, exitFailure, "'ip netns list' lists the host's network namespaces"},
	{interfaces.ErrNamespaceInUse, exitFailure, "--force stops the agent's sidecars in it first"},
	{interfaces.ErrSidecarExists, exitFailure, "--mode replace stops it first"},
	{interfaces.ErrOverloaded, exitFailure, "nothing was started; try again later"},
	{interfaces.ErrHostFailure, exitFailure, "'journalctl -u sidecard' has more"},
	{interfaces.ErrMethodNotFound, exitFailure, "the service is older than this tool: 'sidecarctl version' shows both"},
	{client.ErrProtocol, exitFailure, "is another service at this address? 'sidecarctl version' asks it"},
	{errStillOutdated, exitFailure, "'systemctl reload sidecard' prepares it; then run the same command again"},
	{errMonitorEnded, exitUnreachable, "sidecars go on; start the monitor again: the state shows what was missed"},
	{errLogEnded, exitUnreachable, "sidecars go on; follow the log again, with --since to see what was missed"},
	{client.ErrInterrupted, exitUnreachable, hintUnknown},
	{context.DeadlineExceeded, exitUnreachable, hintUnknown},
}

// find returns the outcome of an error.
func find(err error) outcome {
	var usage *usageError
	var unreachable *client.UnreachableError
	var invalid *interfaces.InvalidParameterError
	var denied *interfaces.PermissionDeniedError
	var unwell *unwellError
	switch {
	case errors.As(err, &unwell) && unwell.errors > 0:
		return outcome{err, exitErrors, ""}
	case unwell != nil:
		return outcome{err, exitWarnings, ""}
	case errors.As(err, &usage):
		return outcome{err, exitUsage, "'sidecarctl --help' and 'sidecarctl COMMAND --help' say what is expected"}
	case errors.As(err, &unreachable):
		return outcome{err, exitUnreachable, unreachable.Hint()}
	case errors.As(err, &invalid) && invalid.Parameter == "agent":
		return outcome{err, exitUsage, "--agent names the agent; only an agent's own socket implies it"}
	case errors.As(err, &denied) && strings.Contains(denied.Reason, interfaces.BusName):
		return outcome{err, exitRefused, "'sidecarctl --transport dbus' calls over the system bus, where polkit knows who you are"}
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o
		}
	}
	return outcome{err, exitFailure, ""}
}

// exitCode returns the code for an error; for joined errors, the code of the first.
func exitCode(err error) int { return find(parts(err)[0]).code }

// parts returns the errors that stop has joined, or the only error.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
