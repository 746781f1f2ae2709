//go:build testhost

package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHardeningReloadThatIsRefused shows that systemctl reload fails when the policy
// files are refused, that every problem is told with file and line, and that the
// policy of before stays in force.
func TestHardeningReloadThatIsRefused(t *testing.T) {
	begin(t)
	t.Cleanup(func() {
		run(t, "rm", "-f", policyFile("agents.d", "broken"), policyFile("profiles.d", "broken"))
		reload(t)
	})
	if err := errors.Join(writePolicy("agents.d", "broken", "profiles = [\"dnsmasq\"]\nnonsense = 1\n"),
		writePolicy("profiles.d", "broken", "image = \"x\"\n\nsenseless = 1\n")); err != nil {
		t.Fatal(err)
	}
	since := now()
	if _, err := output("systemctl", "reload", "sidecard"); err == nil {
		t.Error("systemctl reload says that all is well")
	}
	pid := fmt.Sprint(expectedDaemon)
	_, err := output("/usr/libexec/sidecar/sidecard", "-reload", pid)
	if err == nil {
		t.Fatal("sidecard -reload says that all is well")
	}
	log := ""
	for _, e := range entriesSince(t, since, "_SYSTEMD_UNIT=sidecard.service") {
		text, _ := e["MESSAGE"].(string)
		log += text + "\n"
	}
	for _, want := range []string{"agents.d/broken.toml:2", "nonsense", "profiles.d/broken.toml:3", "senseless"} {
		if !strings.Contains(err.Error(), want) || !strings.Contains(log, want) {
			t.Errorf("nothing says %q: %v\nlog:\n%s", want, err, log)
		}
	}
	if _, err := as(t, tester).ListProfiles(minute(t), nil); err != nil {
		t.Errorf("the policy of before: %v", err)
	}
	run(t, "rm", "-f", policyFile("agents.d", "broken"), policyFile("profiles.d", "broken"))
	for range 20 { // one after the other and at the same time
		if err := atOnce(4, make([]struct{}, 4), func(struct{}) error {
			_, err := output("/usr/libexec/sidecar/sidecard", "-reload", pid)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if status := show(t, "sidecard", "StatusText"); strings.Contains(status, "failed") {
		t.Errorf("the status is %q after the files were put right", status)
	}
}

// TestHardeningReloadOpensSockets shows that a reload makes a socket again whose file
// was removed or replaced, without a restart and whatever systemd has kept, and that
// it fails when the host's socket cannot be made.
func TestHardeningReloadOpensSockets(t *testing.T) {
	begin(t)
	for _, socket := range []string{hostSocket, socketOf(tester)} {
		for name, spoil := range map[string][]string{
			"removed":  {"rm", socket},
			"replaced": {"sh", "-c", "rm " + socket + " && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"" + socket + "\")'"},
		} {
			run(t, spoil...)
			reload(t)
			if _, err := at(t, socket).ListProfiles(minute(t), agentOn(socket)); err != nil {
				t.Errorf("%s was %s: %v", socket, name, err)
			}
		}
	}
	run(t, "rm", hostSocket)
	run(t, "mkdir", hostSocket)
	t.Cleanup(func() { _ = unix.Rmdir(hostSocket) }) // not the socket that is there then
	if _, err := output("systemctl", "reload", "sidecard"); err == nil {
		t.Error("a reload that cannot make the host's socket has not failed")
	}
	run(t, "rmdir", hostSocket)
	reload(t)
	if _, err := at(t, hostSocket).ListProfiles(minute(t), agentOn(hostSocket)); err != nil {
		t.Errorf("after the directory has gone: %v", err)
	}
	// systemd keeps the listener that is served.
	killDaemon(t)
	awaitDaemon(t)
	for _, socket := range []string{hostSocket, socketOf(tester)} {
		if _, err := at(t, socket).ListProfiles(minute(t), agentOn(socket)); err != nil {
			t.Errorf("%s after a restart: %v", socket, err)
		}
	}
}

// agentOn is the agent that a question on this socket has to name.
func agentOn(socket string) *string {
	if socket != hostSocket {
		return nil
	}
	agent := tester
	return &agent
}
