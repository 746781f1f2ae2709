package main

import (
	"context"
	"errors"
	"strings"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// The exit codes. They are part of the interface of the tool: sidecarctl(1) and
// the long help list them.
const (
	exitOK            = 0
	exitFailure       = 1 // any other reason
	exitUsage         = 2 // the command line is wrong, or a value is malformed
	exitRefused       = 3 // by the host's policy
	exitNoSuchSidecar = 4
	exitLaunchFailed  = 5 // or not ready in time, or stopped before
	exitUnreachable   = 6 // no service, or no answer
)

// outcome says how the tool ends with an error, and what can be done about it.
type outcome struct {
	err  error
	code int
	hint string
}

// errMonitorEnded says that there are no more events.
var errMonitorEnded = errors.New("the service has ended, or restarts")

var outcomes = []outcome{
	{interfaces.ErrInvalidParameter, exitUsage, "'sidecarctl COMMAND --help' says what is expected"},
	{interfaces.ErrArgumentNotAllowed, exitRefused, "'sidecarctl profiles NAME' shows the rules, 'sidecarctl explain' tries without starting anything"},
	{interfaces.ErrNamespaceNotAllowed, exitRefused, "network-namespaces in the agent's file says which ones are the agent's"},
	{interfaces.ErrNoSuchProfile, exitRefused, "'sidecarctl profiles' shows what may be launched, 'sidecarctl check' what each agent is granted"},
	{interfaces.ErrNoSuchAgent, exitRefused, "an agent is a file in /etc/sidecar/agents.d; 'sidecarctl check' shows them"},
	{interfaces.ErrTooManySidecars, exitRefused, "max-sidecars in the agent's file is the limit; 'sidecarctl list --agent' shows what there is"},
	{interfaces.ErrPermissionDenied, exitRefused, "the host's socket is for root and for those whom polkit lets in; an agent uses its own socket"},
	{interfaces.ErrInteractiveAuthenticationRequired, exitRefused, "polkit lets in those who authenticate: do so on a terminal (without --no-ask-password), run it as root, or let a rule of polkit allow it"},
	{interfaces.ErrNoSuchSidecar, exitNoSuchSidecar, "'sidecarctl list' shows what there is"},
	{interfaces.ErrLaunchFailed, exitLaunchFailed, "'sidecarctl explain' with the same arguments shows the unit, 'sidecarctl list' the failed one"},
	{interfaces.ErrNotReady, exitLaunchFailed, "'timeout' under 'ready' in the profile is the limit, --timeout only makes it shorter; 'sidecarctl explain' with the same arguments shows what it waits for"},
	{interfaces.ErrLaunchStopped, exitLaunchFailed, "'journalctl SIDECAR_ID=ID METHOD=Stop' says who stopped it"},
	{interfaces.ErrNoSuchNetworkNamespace, exitFailure, "'ip netns list' shows what there is on the host"},
	{interfaces.ErrSidecarExists, exitFailure, "--mode replace stops it first"},
	{interfaces.ErrOverloaded, exitFailure, "nothing was started; try again later"},
	{interfaces.ErrHostFailure, exitFailure, "'journalctl -u sidecard' has more"},
	{interfaces.ErrMethodNotFound, exitFailure, "the service is older than this tool: 'sidecarctl version' shows both"},
	{client.ErrProtocol, exitFailure, "is another service at this address? 'sidecarctl version' asks it"},
	{errMonitorEnded, exitUnreachable, "sidecars go on; begin anew, and the state tells what was missed"},
	{client.ErrInterrupted, exitUnreachable, "what became of the call is not known: 'sidecarctl list' shows it"},
	{context.DeadlineExceeded, exitUnreachable, "what became of the call is not known: 'sidecarctl list' shows it"},
}

// find returns what is known about the error.
func find(err error) outcome {
	var unreachable *client.UnreachableError
	var invalid *interfaces.InvalidParameterError
	var denied *interfaces.PermissionDeniedError
	switch {
	case isUsage(err):
		return outcome{err, exitUsage, "'sidecarctl --help' and 'sidecarctl COMMAND --help' say what is expected"}
	case errors.As(err, &unreachable):
		return outcome{err, exitUnreachable, unreachable.Hint()}
	case errors.As(err, &invalid) && invalid.Parameter == "agent":
		return outcome{err, exitUsage, "--agent says for which agent; only on an agent's own socket is it implied"}
	case errors.As(err, &denied) && strings.Contains(denied.Reason, interfaces.BusName):
		return outcome{err, exitRefused, "'sidecarctl --transport dbus' asks over the system bus, on which polkit knows who you are"}
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o
		}
	}
	return outcome{err, exitFailure, ""}
}

// exitCode returns the code for an error; for several, that of the first.
func exitCode(err error) int { return find(parts(err)[0]).code }

// parts takes joined errors apart.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // only the outermost is taken apart
		return joined.Unwrap()
	}
	return []error{err}
}
