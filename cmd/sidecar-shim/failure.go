package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// The shim prints nothing if it succeeds. Otherwise it prints the last lines of the
// program's own output, if there are any, and then one line:
//
//	NAME: sidecar: what failed, and what to do
//
// Its reader is in the agent's container or reads its log; sidecarctl and journalctl
// are on the host.

// Exit codes beside the program's own.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitNoReal  = 127 // as in a shell
	exitSignal  = 128 // plus the signal's number, as in a shell
)

// Exit codes of a launch that failed before the program could fail, as podman-run(1) has them:
// the host's fault, the program could not be run, the program is not there.
const (
	hostFailed       = 125
	programNotRun    = 126
	programNotFound  = 127
	lastExitCode     = 255
	noOutputOfItsOwn = "it has written nothing"
)

// usageError is a malformed call of a kill script or of the shim itself.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// report prints what there is to say about err and returns the exit code.
func report(to io.Writer, name string, err error) int {
	if err == nil {
		return exitOK
	}
	for _, line := range outputOf(err) {
		fmt.Fprintln(to, line)
	}
	if text := say(err); text != "" {
		printLine(to, name, text)
	}
	return exitCode(err)
}

// outputOf returns what the process wrote before it ended.
func outputOf(err error) []string {
	var failed *interfaces.LaunchFailedError
	var notReady *interfaces.NotReadyError
	switch {
	case errors.As(err, &failed):
		return failed.Output
	case errors.As(err, &notReady):
		return notReady.Output
	}
	return nil
}

func exitCode(err error) int {
	var failed *interfaces.LaunchFailedError
	var i *interrupted
	var usage *usageError
	switch {
	case errors.As(err, &i):
		return exitSignal + int(i.signal)
	case errors.As(err, &failed):
		return exitCodeOf(failed)
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errNoProgram):
		return exitNoReal
	}
	return exitFailure
}

// exitCodeOf returns the process's own exit code, or 128 plus the signal that ended
// it. A process that ended well before it was ready has failed all the same, and how a process
// ends that the host could not make ready means nothing.
func exitCodeOf(failed *interfaces.LaunchFailedError) int {
	if phaseOf(failed) != interfaces.PhasePayload {
		return hostFailed
	}
	if failed.ExitCode != nil && *failed.ExitCode > 0 && *failed.ExitCode <= lastExitCode {
		return int(*failed.ExitCode)
	}
	if failed.ExitSignal != nil {
		if number := signalNumber(*failed.ExitSignal); number > 0 {
			return exitSignal + number
		}
	}
	return exitFailure
}

func phaseOf(failed *interfaces.LaunchFailedError) interfaces.LaunchPhase {
	if failed.Phase == nil {
		return interfaces.PhasePayload
	}
	return *failed.Phase
}

// say returns the line about err: what, and what to do. Nothing means that the
// program's own output says it all.
func say(err error) string {
	var failed *interfaces.LaunchFailedError
	var notReady *interfaces.NotReadyError
	var invalid *interfaces.InvalidParameterError
	switch {
	case errors.As(err, &failed):
		return sayFailed(failed)
	case errors.As(err, &invalid) && invalid.Parameter == "agent": // it never names one: an agent's socket implies it
		return err.Error() + "; " + wrongSocket
	case errors.As(err, &notReady):
		return fmt.Sprintf("not ready after %g s, and stopped again; the profile on the host says what is waited for and how long ('ready')", float64(notReady.TimeoutUSec)/1e6)
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return err.Error() + "; " + a.text
		}
	}
	return err.Error()
}

// sayFailed speaks only where the output does not.
func sayFailed(failed *interfaces.LaunchFailedError) string {
	reason := "the reason is not known"
	if failed.Reason != nil {
		reason = *failed.Reason
	}
	switch code := exitCodeOf(failed); {
	case phaseOf(failed) == interfaces.PhasePreparation:
		return "the host could not prepare it: " + reason
	case phaseOf(failed) == interfaces.PhaseReadiness:
		return "the process ran, and was stopped again: " + reason
	case phaseOf(failed) == interfaces.PhaseEngine:
		return "the container could not be made: is the profile's image on the host ('podman images')? Images are never pulled at a launch; \"journalctl -u 'sidecar-*'\" on the host says more"
	case failed.ExitCode == nil && failed.ExitSignal == nil:
		return "the process could not be started; 'journalctl -u sidecard' and, for the unit, \"journalctl -u 'sidecar-*'\" on the host say more"
	case code == programNotRun || code == programNotFound:
		return fmt.Sprintf("the program could not be run (exit code %d): is the profile's command in its image?", code)
	case failed.ExitCode != nil && *failed.ExitCode == 0:
		return "the process ended with exit code 0 before it was ready, which is a failure all the same"
	case len(failed.Output) > 0:
		return ""
	case failed.ExitSignal != nil:
		return fmt.Sprintf("the process was ended by %s before it was ready; %s", *failed.ExitSignal, noOutputOfItsOwn)
	}
	return fmt.Sprintf("the process ended with exit code %d before it was ready; %s", *failed.ExitCode, noOutputOfItsOwn)
}

const wrongSocket = "is the directory of the agent's own socket mounted as /run/sidecar, and not the host's?"

// advice says what to do about an error whose own text says only what it is.
var advice = []struct {
	err  error
	text string
}{
	{interfaces.ErrArgumentNotAllowed, "the profile's rules on the host decide: 'sidecarctl profiles NAME' shows them"},
	{interfaces.ErrNamespaceNotAllowed, "'network-namespaces' in the agent's file on the host says which are its own"},
	{interfaces.ErrNoSuchNetworkNamespace, "is /run/netns of the host shared into the agent's container (rshared)?"},
	{interfaces.ErrNoSuchProfile, "'profiles' in the agent's file on the host grants it; 'sidecarctl check' there shows what is granted"},
	{interfaces.ErrNoSuchAgent, "the agent's file /etc/sidecar/agents.d/NAME.toml on the host is gone"},
	{interfaces.ErrTooManySidecars, "'max-sidecars' in the agent's file on the host is the limit; 'sidecarctl list' there shows what runs"},
	{interfaces.ErrPermissionDenied, wrongSocket},
	{interfaces.ErrInteractiveAuthenticationRequired, wrongSocket},
	{interfaces.ErrInvalidParameter, "is sidecar-shim of the same version as the service?"},
	{interfaces.ErrMethodNotFound, "the service is older than this sidecar-shim"},
	{interfaces.ErrSidecarExists, "somebody else launched it at the same time; try again"},
	{interfaces.ErrNoSuchSidecar, "it has ended"},
	{interfaces.ErrLaunchStopped, "a kill script or somebody on the host has stopped it, and it left nothing behind; 'journalctl -u sidecard' on the host says who"},
	{interfaces.ErrOverloaded, "nothing was started; try again later"},
	{interfaces.ErrHostFailure, "'journalctl -u sidecard' on the host says more"},
	{client.ErrInterrupted, "the call was repeated and failed again: 'systemctl status sidecard' on the host says more"},
	{client.ErrProtocol, "is another service at this address?"},
	{spool.ErrProtocol, "is the host's sidecar-spool of the same version?"},
	{spool.ErrWithdrawn, "nothing was started"},
	{spool.ErrUnanswered, "if the start had begun, it is carried through; 'sidecarctl list' on the host shows it, the next launch replaces it"},
	{context.DeadlineExceeded, "if the start had begun, the service carries it through; 'sidecarctl list' on the host shows it, the next launch replaces it"},
}
