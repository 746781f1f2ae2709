//go:build testhost

package test

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spooledStandIns is an agent with a pid namespace of its own and no socket, whose
// shims are root, as those that Neutron starts through its root helper.
const spooledStandIns = `profiles = ["dnsmasq", "conntrackd"]
network-namespaces = ["qdhcp-*", "qrouter-*"]
state-directories = ["/var/lib/neutron"]
subdirectories = ["dhcp", "ha_confs"]
stand-ins = true
spool-user = 0
`

// spoolMounts are those that sidecar-spool(8) tells to make, and no socket.
var spoolMounts = []string{
	"mount -t tmpfs none /run/sidecar",
	"mount --bind " + spoolOnHost + " /var/lib/sidecar/spool",
	"mount -o remount,bind,ro /var/lib/sidecar/spool",
	"mount --bind /var/lib/sidecar/spool/requests /var/lib/sidecar/spool/requests",
	"mount -o remount,bind,rw /var/lib/sidecar/spool/requests",
}

// withSpooledStandIns gives the agent its spool, and its shims the default settings.
func withSpooledStandIns(t *testing.T) shims {
	t.Helper()
	withSpoolAs(t, spooledStandIns)
	stopAllAtEnd(t, spooled)
	s := shimsOf(t, spooled)
	s.socket = "" // the default one, which is not there
	return s
}

func TestSpoolStandInLifeAndRestartOfTheAgent(t *testing.T) {
	begin(t)
	s := withSpooledStandIns(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	line := "dnsmasq " + strings.Join(n.arguments(), " ")
	serves := func(address string) {
		t.Helper()
		eventually(t, 20*time.Second, "the machine gets "+address, func() bool { return n.lease(t) == address })
	}
	c := newContainer(t, s, spoolMounts...)
	c.do(t, n.namespace, "dnsmasq", n.arguments()...)
	first := only(t, spooled)
	standIn := c.standIn(t, line, n.file("pid"))
	serves("192.0.2.10")
	n.assign(t, "192.0.2.20")
	if err := syscall.Kill(standIn, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	serves("192.0.2.20")

	c.end(t)
	n.assign(t, "192.0.2.30") // the agent writes its files again before it starts
	again := newContainer(t, s, spoolMounts...)
	again.do(t, n.namespace, "dnsmasq", n.arguments()...)
	checkRunningPID(t, spooled, first) // adopted
	adopting := again.standIn(t, line, n.file("pid"))
	serves("192.0.2.30")

	// With its stand-in there, a launch is a restart.
	again.do(t, n.namespace, "dnsmasq", n.arguments()...)
	if now := only(t, spooled); numberOf(now) == numberOf(first) {
		t.Error("a restart has not replaced it")
	}
	last := again.standIn(t, line, n.file("pid"))
	if last == adopting {
		t.Error("the old stand-in is still there")
	}
	if err := syscall.Kill(last, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stand-in is gone", func() bool { return !alive(last) })
	gone(t, spooled, first.ID)
}

func TestSpoolStandInAndKillScripts(t *testing.T) {
	begin(t)
	c := newContainer(t, withSpooledStandIns(t), spoolMounts...)
	k, dir := newConntrackd(t)
	command := "conntrackd -d -C " + dir + "/conntrackd.conf"
	for _, signal := range []string{"15", "9"} {
		c.do(t, k.namespace, "conntrackd", k.arguments...)
		sidecar := only(t, spooled)
		standIn := c.standIn(t, command, "")
		inside := strconv.Itoa(c.showing(t, command)[standIn])
		c.do(t, "", "default-service-kill", signal, inside)
		eventually(t, 6*time.Second, "the stand-in is gone", func() bool { return !alive(standIn) })
		gone(t, spooled, sidecar.ID)
		if r := wait(t, c.command(t, "", "default-service-kill", "9", inside)); r.code != 1 || !strings.Contains(r.err, "No such process") {
			t.Errorf("killed when it is gone: %v", r)
		}
	}
}
