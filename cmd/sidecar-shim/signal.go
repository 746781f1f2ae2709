package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// parseSignal reads a signal as kill(1) and Neutron write it: 15, TERM, SIGTERM,
// each also with a dash before it. It must be one that the service takes. It
// returns the full name.
func parseSignal(s string) (string, error) {
	text := strings.ToUpper(strings.TrimPrefix(s, "-"))
	name := "SIG" + strings.TrimPrefix(text, "SIG")
	if number, err := strconv.ParseUint(text, 10, 8); err == nil {
		name = unix.SignalName(syscall.Signal(number))
	}
	if !slices.Contains(interfaces.Signals, name) {
		return "", &usageError{fmt.Sprintf("%.40q is not a signal for sidecars; there are %s, with or without SIG, or as numbers", s, strings.Join(interfaces.Signals, ", "))}
	}
	return name, nil
}

// parsePID reads the number of a process that may be signalled. 1 is the
// container's own first process, less means groups of processes to kill(2).
func parsePID(s string) (int, error) {
	pid, err := strconv.ParseInt(s, 10, 32)
	if err != nil || pid <= 1 || s[0] == '+' {
		return 0, &usageError{fmt.Sprintf("%.40q is not a process ID", s)}
	}
	return int(pid), nil
}

// signalNumber returns the number of a signal, 0 for a name that is none.
func signalNumber(name string) int { return int(unix.SignalNum(name)) }

// ends reports whether the signal asks a process to end.
func ends(name string) bool {
	switch name {
	case "SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT":
		return true
	}
	return false
}
