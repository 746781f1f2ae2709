//go:build testhost

package test

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// neutronDriver is the program that does what Neutron's agents do.
//
//go:embed testdata/neutron/*.py
var neutronDriver embed.FS

const (
	shimOfPod  = "/usr/local/libexec/sidecar-shim" // shimProgram in the agent's image
	realOfPod  = "/usr/libexec/sidecar/real"       // where the programs went that the shims stand in for
	killScript = "/etc/neutron/kill_scripts"
)

// sidecarPrograms are the names that Neutron starts, and killScripts those with
// which it stops them.
var (
	sidecarPrograms = []string{"dnsmasq", "haproxy", "keepalived", "radvd", "conntrackd"}
	killScripts     = []string{"dnsmasq-kill", "haproxy-kill", "keepalived-kill", "radvd-kill", "default-service-kill"}
)

// neutronConf is what an agent's configuration must have, with its root helper.
const neutronConf = `[DEFAULT]
state_path = /var/lib/neutron
host = agent
interface_driver = dhcp.VethDriver
transport_url = fake:/
[AGENT]
root_helper = %s
check_child_processes_interval = 1
[oslo_concurrency]
lock_path = /var/lib/neutron/lock
`

// netstat says to neutron-netns-cleanup who listens, as far as it looks: a line with
// PID/PROGRAM for each socket.
const netstat = "#!/bin/sh\nss -Hnlptuw | sed -n 's/.*((\"\\([^\"]*\\)\",pid=\\([0-9]*\\),.*/listens \\2\\/\\1/p'\n"

// agentImage makes the root directory of an agent's container: the host's programs,
// with shims in the place of those that must run outside.
func agentImage(t testing.TB, p privileges) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{
		"usr/sbin", "usr/bin", "usr/lib", "usr/lib64", "usr/share", "usr/local/libexec", realOfPod, "opt/agent",
		"etc", "proc", "sys", "dev", "tmp", "var/tmp", "var/lib/neutron", "run/sidecar", "run/netns", "root",
	} {
		makeDirectory(t, filepath.Join(root, dir))
	}
	run(t, "chmod", "1777", root+"/tmp", root+"/var/tmp")
	for _, dir := range []string{"sbin", "bin", "lib", "lib64"} {
		link(t, "usr/"+dir, filepath.Join(root, dir))
	}
	link(t, "/run", filepath.Join(root, "var/run"))
	run(t, "cp", "-a", "/etc/.", root+"/etc")
	run(t, "rm", "-rf", root+"/etc/sidecar") // the host's
	run(t, "cp", shimProgram, root+shimOfPod)
	linkPrograms(t, root)
	// A root helper that has nothing to do; an empty one would mean sudo.
	rootHelper := "env"
	if p.rootHelper != "" {
		rootHelper = p.rootHelper
		addRootwrap(t, root)
	}
	addConfiguration(t, root, fmt.Sprintf(neutronConf, rootHelper)+p.conf)
	return root
}

// linkPrograms fills the image's /usr/sbin and its kill scripts.
func linkPrograms(t testing.TB, root string) {
	t.Helper()
	entries, err := os.ReadDir("/usr/sbin")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		link(t, realOfPod+"/"+entry.Name(), filepath.Join(root, "usr/sbin", entry.Name()))
	}
	for _, name := range sidecarPrograms {
		if err := os.Remove(filepath.Join(root, "usr/sbin", name)); err != nil {
			t.Fatal(err)
		}
		link(t, shimOfPod, filepath.Join(root, "usr/sbin", name))
	}
	makeDirectory(t, root+killScript)
	for _, name := range killScripts {
		link(t, shimOfPod, filepath.Join(root+killScript, name))
	}
	if err := os.WriteFile(root+"/usr/sbin/netstat", []byte(netstat), 0o755); err != nil {
		t.Fatal(err)
	}
	// The packet filter has no say in what the tests show.
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path := filepath.Join(root, "usr/sbin", name+suffix)
			_ = os.Remove(path)
			link(t, "/bin/true", path)
		}
	}
}

// addConfiguration writes Neutron's settings and the driver.
func addConfiguration(t testing.TB, root, conf string) {
	t.Helper()
	write(t, root+"/etc/neutron/neutron.conf", conf)
	files, err := neutronDriver.ReadDir("testdata/neutron")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := neutronDriver.ReadFile("testdata/neutron/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		write(t, root+"/opt/agent/"+file.Name(), string(text))
	}
}

func makeDirectory(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}
