//go:build testhost

package test

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// machineVariable is the name of the virtual machine (make vm-test).
const machineVariable = "SIDECAR_TESTHOST_MACHINE"

// inMachine reports whether the tests run in a whole virtual machine.
func inMachine() bool { return os.Getenv(machineVariable) != "" }

// lacks are the tests that were skipped by lacking, with their reasons.
var lacks struct {
	sync.Mutex
	lines []string
}

// lacking skips a test for something that this machine's kernel does not have. The reason
// stands with the test, and once more at the end of all of them (make test RUN=...). In a
// virtual machine it fails the test: the machine is made to have it (make vm-test).
func lacking(t *testing.T, format string, arguments ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, arguments...)
	if inMachine() {
		t.Fatalf("in the machine %s, which is there for this: %s", os.Getenv(machineVariable), reason)
	}
	lacks.Lock()
	lacks.lines = append(lacks.lines, t.Name()+": "+reason)
	lacks.Unlock()
	t.Skip(reason)
}

// printLacks prints what this run says nothing about.
func printLacks() {
	for _, line := range lacks.lines {
		fmt.Fprintln(os.Stderr, "SKIPPED:", line)
	}
}
