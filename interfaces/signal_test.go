package interfaces_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestContractNamesTheSignals shows that the comment in the .varlink file lists
// the signals that are taken, that the kernel has them, and that none suspends a
// process.
func TestContractNamesTheSignals(t *testing.T) {
	t.Parallel()
	const comment = "  # Name of the signal: "
	_, rest, _ := strings.Cut(interfaces.Description, comment)
	line, _, _ := strings.Cut(rest, "\n")
	if want := strings.Join(interfaces.Signals, ", "); line != want {
		t.Errorf("the comment lists %q, want %q", line, want)
	}
	for _, name := range interfaces.Signals {
		switch number := unix.SignalNum(name); number {
		case 0, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT:
			t.Errorf("%s (%d) is none that may be sent", name, number)
		}
	}
}
