package launch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

// A unit's status text (STATUS= of sd_notify(3)) is one of two lines:
//
//	Ready: process PID
//	Failed in PHASE: REASON
const (
	readyPrefix  = "Ready: process "
	failedPrefix = "Failed in "
)

// maxReason is how much of an error is shown in a unit's status text, in bytes.
const maxReason = 400

// FormatFailure returns the status text of a unit whose launch has failed.
func FormatFailure(phase interfaces.LaunchPhase, reason error) string {
	return fmt.Sprintf("%s%s: %.*s", failedPrefix, phase, maxReason, strings.ReplaceAll(reason.Error(), "\n", "; "))
}

// ParseFailure returns the phase and the reason of a text of [FormatFailure], and no phase for
// any other text.
func ParseFailure(text string) (phase interfaces.LaunchPhase, reason string) {
	rest, _ := strings.CutPrefix(text, failedPrefix)
	word, reason, _ := strings.Cut(rest, ": ")
	if phase = interfaces.LaunchPhase(word); rest == text || !slices.Contains(interfaces.LaunchPhases, phase) {
		return "", ""
	}
	return phase, reason
}

// FormatStatus returns the status text of a unit whose payload is ready. pid is
// the payload's main process in the host's pid namespace.
func FormatStatus(pid int) string { return readyPrefix + strconv.Itoa(pid) }

// ParseStatus takes the process out of a unit's StatusText, and returns false
// for any other text.
func ParseStatus(text string) (pid int, ok bool) {
	number, ok := strings.CutPrefix(text, readyPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return 0, false
	}
	return int(n), true
}
