//go:build testhost

package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	images  = "/srv/images"
	image   = "localhost/neutron-sidecars:1"
	shimmed = "localhost/agent:1"
	network = "qdhcp-images"
	leases  = "/var/lib/neutron/dhcp/images"
)

// TestImages goes through docs/images.md: the image of the side processes, an agent's image with
// the shims, and the same under docker, whose images podman must be given.
func TestImages(t *testing.T) {
	run(t, "dpkg", "-i", packageOf(t, "newer", "deb"))
	t.Cleanup(func() {
		t.Setenv("SIDECAR_STOP", "1")
		run(t, "dpkg", "-P", "sidecar")
	})
	run(t, "podman", "load", "--quiet", "--input="+images+"/neutron-sidecars.tar")
	for _, program := range []struct{ name, flag, says string }{
		{"dnsmasq", "--version", "Dnsmasq version"},
		{"haproxy", "-v", "HAProxy version"},
		{"keepalived", "--version", "Keepalived v"},
		{"radvd", "--version", "Version:"}, // and exits with 1
		{"conntrackd", "-v", "Connection tracking userspace daemon"},
		{"dibbler-client", "help", "Dibbler"},
	} {
		out, _ := exec.Command("podman", "run", "--rm", "--network=none", image, "/usr/sbin/"+program.name, program.flag).CombinedOutput()
		if !strings.Contains(string(out), program.says) {
			t.Errorf("%s says %s", program.name, out)
		}
	}
	for _, base := range []string{image, shimmed} { // the second time it has the shims already
		run(t, "podman", "build", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--layers=false",
			"--build-arg=BASE="+base, "--build-arg=RUN_AS=root", "-t", shimmed, "-f", images+"/agent.Containerfile", images)
	}
	run(t, "ip", "netns", "add", network)
	t.Cleanup(func() { run(t, "ip", "netns", "delete", network) })
	if err := os.MkdirAll(leases, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "/usr/share/doc/sidecar/examples/agents.d/neutron-dhcp.toml", "/etc/sidecar/agents.d/")
	run(t, "systemctl", "reload", "sidecard")
	t.Run("podman", func(t *testing.T) { checkAgent(t, "podman") })
	t.Run("docker", func(t *testing.T) {
		startDocker(t)
		run(t, "sh", "-ec", "podman save --quiet "+image+" "+shimmed+" --multi-image-archive | docker load")
		checkAgent(t, "docker")
		checkFollows(t)
	})
}

// inAgent runs a command in a container that has what docs/neutron.md gives to the DHCP agent.
func inAgent(engine string, argv ...string) *exec.Cmd {
	return exec.Command(engine, append([]string{
		"run", "--rm", "--network=host", "--pid=host", "--cap-drop=all", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN",
		"--volume=/run/sidecar/agents/neutron-dhcp:/run/sidecar:ro", "--volume=/run/netns:/run/netns:rshared", "--volume=/var/lib/neutron:/var/lib/neutron",
		shimmed,
	}, argv...)...)
}

// checkAgent starts and ends a dnsmasq as Neutron does.
func checkAgent(t *testing.T, engine string) {
	if out, err := inAgent(engine, "dnsmasq", "--version").CombinedOutput(); err != nil || !strings.Contains(string(out), "Dnsmasq version") {
		t.Errorf("the real program: %v, %s", err, out)
	}
	started := inAgent(engine, "nsenter", "--net=/run/netns/"+network, "dnsmasq", "--no-hosts", "", "--pid-file="+leases+"/pid", "--conf-file=/dev/null")
	if out, err := started.CombinedOutput(); err != nil {
		t.Fatalf("the shim: %v, %s", err, out)
	}
	pid := payload(t)
	if exe := run(t, "readlink", "/proc/"+pid+"/exe"); exe != "/usr/sbin/dnsmasq" {
		t.Errorf("the sidecar runs %s", exe)
	}
	if out, err := inAgent(engine, "/etc/neutron/kill_scripts/dnsmasq-kill", "9", pid).CombinedOutput(); err != nil {
		t.Errorf("the kill script: %v, %s", err, out)
	}
	got := ""
	for deadline := time.Now().Add(30 * time.Second); got != "[]" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		got = run(t, "sidecarctl", "list", "--output=json")
	}
	if got != "[]" {
		t.Errorf("after the kill script there is %s", got)
	}
}

// payload returns the process ID in the pid file of dnsmasq.
func payload(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(leases + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(text))
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("the pid file has %q", text)
	}
	return pid
}

// startDocker starts docker without a network of its own.
func startDocker(t *testing.T) {
	t.Helper()
	run(t, "systemd-run", "--unit=test-docker", "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none")
	t.Cleanup(func() { run(t, "systemctl", "stop", "test-docker") })
	for start := time.Now(); exec.Command("docker", "version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal(run(t, "journalctl", "-u", "test-docker", "--no-pager"))
		}
	}
}

// checkFollows replaces the image in docker, as an upgrade of kolla does.
func checkFollows(t *testing.T) {
	if out, err := inAgent("docker", "nsenter", "--net=/run/netns/"+network, "dnsmasq", "--pid-file="+leases+"/pid", "--conf-file=/dev/null").CombinedOutput(); err != nil {
		t.Fatalf("the shim: %v, %s", err, out)
	}
	before := payload(t)
	newer := filepath.Join(t.TempDir(), "Dockerfile")
	write(t, newer, "FROM "+image+"\nLABEL newer=yes\n")
	run(t, "docker", "build", "--network=none", "-t", image, filepath.Dir(newer))
	id, _ := strings.CutPrefix(run(t, "docker", "image", "inspect", "--format={{.Id}}", image), "sha256:")
	run(t, images+"/from-docker.sh")
	if got := run(t, "podman", "image", "inspect", "--format={{.Id}}", image); got != id {
		t.Errorf("podman has the image %s, docker %s", got, id)
	}
	if payload(t) != before {
		t.Error("a new image has replaced a sidecar")
	}
	run(t, "podman", "tag", image, "localhost/neutron-sidecars:kept")
	run(t, "podman", "build", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "-t", image, "-f", newer, filepath.Dir(newer))
	newest := run(t, "podman", "image", "inspect", "--format={{.Id}}", image)
	run(t, images+"/from-docker.sh")
	if got := run(t, "podman", "image", "inspect", "--format={{.Id}}", image); got != newest || got == id {
		t.Errorf("docker's older image has replaced podman's newer one: %s, docker's is %s, the newer %s", got, id, newest)
	}
	run(t, "podman", "tag", "localhost/neutron-sidecars:kept", image)
	run(t, "sidecarctl", "recycle", "--outdated")
	if payload(t) == before {
		t.Error("the recycle has replaced nothing")
	}
	if got := run(t, "sidecarctl", "list", "--output=json"); !strings.Contains(got, id) {
		t.Errorf("the image %s is not in %s", id, got)
	}
}
