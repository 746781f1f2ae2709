package launcher

import (
	"context"
	"os/exec"
	"testing"

	"tripleo.io/sidecar/service/document"
)

// unitOf returns a unit in which mainPID runs, and a container with processes
// that have other numbers for themselves: inner number to outer number.
func unitOf(mainPID int, inside map[int]int) ProcessTable {
	return func() ([]Process, error) {
		all := []Process{{PID: mainPID, Parent: 1, NSPID: []int{mainPID}}}
		for own, pid := range inside {
			all = append(all, Process{PID: pid, Parent: mainPID, NSPID: []int{pid, own}})
		}
		return all, nil
	}
}

// mainOf starts a process that stands for the unit's main process. It ends with
// the test at the latest.
func mainOf(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

// translate does so outside of a wait.
func translate(f document.File, table ProcessTable, pidNamespace string) (Process, error) {
	w := waiter{document: documentOf(document.Plan{PIDNamespace: pidNamespace}), table: table}
	return w.translate(f)
}

// testID is the sidecar of the tests.
const testID = "neutron-dhcp.dnsmasq.0123456789ab"

// documentOf returns a document with this plan, for a payload in the host's network.
func documentOf(p document.Plan) *document.Document { return &document.Document{Plan: p} }

// containerOf is a container whose command starts the payload.
func containerOf(argv ...string) Container {
	return Container{
		Make:    func(context.Context) (string, error) { return "", nil },
		Command: func() []string { return argv },
	}
}
