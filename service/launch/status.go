package launch

import (
	"strconv"
	"strings"
)

const statusPrefix = "Ready: process "

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
