//go:build testhost

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFieldMountElsewhere: the container sees a file of the host at another path, which
// its image does not have, and cannot write to it.
func TestFieldMountElsewhere(t *testing.T) {
	begin(t)
	namespace(t, "t-elsewhere")
	const onHost, inside = "/etc/kolla-dnsmasq.conf", "/etc/neutron/sub/dnsmasq.conf"
	write(t, onHost, "of the host\n")
	t.Cleanup(func() { _ = os.Remove(onHost) })
	withPolicy(t, "profiles.d", "elsewhere", "mounts = [\""+onHost+":"+inside+":ro\"]\n"+profileFiles()["probe"])
	withPolicy(t, "agents.d", "users", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["elsewhere", "dnsmasq"`, 1))
	s := start(t, "users", shaped(t, "elsewhere", "t-elsewhere"))
	pid := int(*s.Runtime.ProcessID)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", pid, inside))
	if err != nil || string(text) != "of the host\n" {
		t.Errorf("it sees %q, %v", text, err)
	}
	if options := mountsOf(t, pid)[inside]; !strings.HasPrefix(options, "ro,") {
		t.Errorf("mounted %q", options)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", pid, onHost)); err == nil {
		t.Error("it sees it at its own path, too")
	}
}
