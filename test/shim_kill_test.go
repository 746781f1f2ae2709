//go:build testhost

package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// numberOf returns a sidecar's process ID as a kill script takes it.
func numberOf(s *interfaces.Sidecar) string { return strconv.FormatInt(*s.Runtime.ProcessID, 10) }

// Neutron signals keepalived's VRRP child by its own pid file, as a default-service.
func TestShimKillOfKeepalivedsChild(t *testing.T) {
	begin(t)
	k, _, _ := newKeepalived(t)
	stopAllAtEnd(t, k.agent)
	s := shimsOf(t, k.agent)
	for signal, lives := range map[string]bool{"HUP": true, "15": false, "9": false} {
		s.start(t, k.namespace, "", "keepalived", k.arguments...)
		sidecar := only(t, k.agent)
		child, err := readPID(k.pidFiles[1])
		if err != nil || int64(child) == *sidecar.Runtime.ProcessID {
			t.Fatalf("the child is process %d, %v", child, err)
		}
		s.killed(t, "default-service-kill", signal, child)
		if lives {
			time.Sleep(500 * time.Millisecond)
			checkRunningPID(t, k.agent, sidecar)
			continue
		}
		gone(t, k.agent, sidecar.ID)
		if r := s.kill(t, "default-service-kill", "9", child); r.code != 1 || !strings.Contains(r.err, "No such process") {
			t.Errorf("killed when it is gone: %v", r)
		}
	}
}

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

// Neutron ends a prefix delegation client by its own verb.
func TestShimStartsAndStopsDibbler(t *testing.T) {
	begin(t)
	agent, r := withL3(t), newRouter(t)
	stopAllAtEnd(t, agent)
	s := shimsOf(t, agent)
	place(t, "pd")
	dir := place(t, "pd/"+r.id+":"+uuid()+":qr-0a1b2c3d-4e")
	write(t, dir+"/client.conf", fmt.Sprintf(dibblerConfiguration, dir))
	eventually(t, 5*time.Second, "the address is not tentative", func() bool {
		return !strings.Contains(run(t, "ip", "-n", r.namespace, "-6", "address", "show", "dev", routerInterface), "tentative")
	})
	s.start(t, r.namespace, "", "dibbler-client", "start", "-w", dir)
	sidecar := only(t, agent)
	if pid, err := readPID(dir + "/client.pid"); err != nil || int64(pid) != *sidecar.Runtime.ProcessID {
		t.Errorf("the pid file holds %d, %v; the sidecar is %s", pid, err, numberOf(sidecar))
	}
	s.start(t, r.namespace, "", "dibbler-client", "stop", "-w", dir)
	gone(t, agent, sidecar.ID)
}
