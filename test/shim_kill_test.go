//go:build testhost

package test

import (
	"strconv"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// numberOf returns a sidecar's process ID as a kill script takes it.
func numberOf(s *interfaces.Sidecar) string { return strconv.FormatInt(*s.Runtime.ProcessID, 10) }

// checkRunningPID holds a sidecar to be ready still, as the same process.
func checkRunningPID(t *testing.T, agent string, before *interfaces.Sidecar) {
	t.Helper()
	now := get(t, agent, before.ID)
	if now.Runtime.State != interfaces.StateReady || numberOf(now) != numberOf(before) {
		t.Errorf("%s is %s, process %s; it was %s", before.ID, now.Runtime.State, numberOf(now), numberOf(before))
	}
}

// A router's namespace can go before its processes do.
func TestShimKillWhenTheNamespaceIsGone(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	s.start(t, n.namespace, "", "dnsmasq", n.quiet().Arguments...)
	sidecar := only(t, neutron)
	run(t, "ip", "netns", "delete", n.namespace)
	t.Cleanup(func() { run(t, "ip", "netns", "add", n.namespace) }) // the network's own clean-up deletes it
	pid := int(*sidecar.Runtime.ProcessID)
	s.killed(t, "dnsmasq-kill", "HUP", pid)
	checkRunningPID(t, neutron, sidecar)
	s.killed(t, "dnsmasq-kill", "15", pid)
	gone(t, neutron, sidecar.ID)
}

// A sidecar of another agent is none of the caller's.
func TestShimKillOfAnotherAgentsSidecarIsRefused(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	sidecar := start(t, neutron, n.quiet())
	s := shimsOf(t, tester)
	for _, signal := range []string{"HUP", "15", "9"} {
		r := s.kill(t, "dnsmasq-kill", signal, int(*sidecar.Runtime.ProcessID))
		if r.code != 1 || !strings.Contains(r.err, "another agent's") || !strings.Contains(r.err, "No such process") {
			t.Errorf("%s: %v", signal, r)
		}
	}
	checkRunningPID(t, neutron, sidecar)
}
