//go:build testhost

package test

import (
	"fmt"
	"os/exec"
	"testing"
)

// spooledCommand is a shim that has no socket, but a spool, as the spool's user.
func (s shims) spooledCommand(t *testing.T, netns, name string, args ...string) *exec.Cmd {
	t.Helper()
	user := fmt.Sprintf("--reuid=%d", spoolUser)
	words := append([]string{user, "--clear-groups", s.directory + "/" + name}, args...)
	cmd := shims{s.directory, "/run/nowhere/s"}.command(t, netns, "tag", "setpriv", words...)
	cmd.Env = append(cmd.Environ(), "SIDECAR_SPOOL="+spoolOnHost)
	return cmd
}

func TestShimThroughTheSpool(t *testing.T) {
	begin(t)
	withSpool(t)
	stopAllAtEnd(t, spooled)
	s := shimsOf(t, spooled)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	do := func(netns, name string, args ...string) {
		t.Helper()
		if r := wait(t, s.spooledCommand(t, netns, name, args...)); r.code != 0 || r.out != "" || r.err != "" {
			t.Fatalf("%s: %v", name, r)
		}
	}
	do(n.namespace, "dnsmasq", n.arguments()...)
	sidecar := only(t, spooled)
	checkRunning(t, sidecar, n.parameters())
	if got := n.lease(t); got != "192.0.2.10" {
		t.Errorf("the machine got %s", got)
	}
	// The same errors as over the socket.
	namespace(t, "forbidden")
	r := wait(t, s.spooledCommand(t, "forbidden", "dnsmasq", n.arguments()...))
	checkWrong(t, "namespace", r, 1, `dnsmasq: sidecar: network namespace "forbidden" not allowed: `)
	r = wait(t, s.spooledCommand(t, n.namespace, "dnsmasq", n.arguments("--dhcp-script=/bin/sh")...))
	checkWrong(t, "argument", r, 1, `dnsmasq: sidecar: argument 16 ("--dhcp-script=/bin/sh") not allowed: `)
	other := bareNetwork(t)
	r = wait(t, s.spooledCommand(t, n.namespace, "dnsmasq", other.quiet().Arguments...))
	checkWrong(t, "its own failure", r, 2, "Address already in use")
	do("", "dnsmasq-kill", "15", numberOf(sidecar))
	gone(t, spooled, sidecar.ID)
}
