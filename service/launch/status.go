package launch

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	statusPrefix  = "Ready: process "
	failurePrefix = "Failed: "
)

// maxStatus is how much of an error is shown in a unit's status text.
const maxStatus = 400

// FormatFailure returns the status text of a unit whose launch failed in sidecar-launch and
// not in the engine: to make it once more would not help.
func FormatFailure(err error) string {
	return fmt.Sprintf("%s%.*s", failurePrefix, maxStatus, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// HasFailed reports whether a status text is one of [FormatFailure].
func HasFailed(text string) bool { return strings.HasPrefix(text, failurePrefix) }

// FormatStatus returns the status text of a unit whose payload is ready. pid is
// the payload's main process in the host's pid namespace.
func FormatStatus(pid int) string { return statusPrefix + strconv.Itoa(pid) }

// ParseStatus takes the process out of a unit's StatusText, and returns false
// for any other text.
func ParseStatus(text string) (pid int, ok bool) {
	number, ok := strings.CutPrefix(text, statusPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return 0, false
	}
	return int(n), true
}
