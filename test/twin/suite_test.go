package twin

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tripleo.io/sidecar/service/policy"
)

// suite is what all cases of a test share.
type suite struct {
	bus string // D-Bus address
	set *policy.Set
}

// pocket is an agent with stand-ins, which may have one sidecar.
const pocket = `
profiles           = ["dnsmasq", "chosen", "strict", "probed"]
network-namespaces = ["qdhcp-*"]
state-directories  = ["/var/lib/pocket"]
host-network       = true
stand-ins          = true
max-sidecars       = 1
`

func newSuite(t *testing.T) *suite {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can call as other users")
	}
	return &suite{bus: startBus(t), set: loadPolicy(t)}
}

// unconfigured is a host without policy files.
func unconfigured(t *testing.T) *policy.Set {
	t.Helper()
	set, err := policy.Load(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// loadPolicy loads the profiles and example agents that are shipped, pocket, and three profiles
// like dnsmasq: "chosen" has an OCI runtime of its own, "strict" needs one that the host lacks, and
// "probed" has a probe.
func loadPolicy(t *testing.T) *policy.Set {
	t.Helper()
	agents := installed(t, "../../service/policy/examples/agents.d")
	write(t, filepath.Join(agents, "agents.d", "pocket.toml"), pocket)
	profiles := installed(t, "../../service/policy/profiles.d")
	dnsmasq, err := os.ReadFile("../../service/policy/profiles.d/dnsmasq.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"chosen": `runtime = ["krun"]`, "strict": "runtime = [\"runsc\"]\nruntime-required = true",
		"probed": `health = { udp = 53 }`,
	} {
		write(t, filepath.Join(profiles, "profiles.d", name+".toml"), line+"\n"+string(dnsmasq))
	}
	set, err := policy.Load(profiles, agents)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// installed copies policy files as make install does: whatever the umask of the
// checkout, nobody else may write them.
func installed(t *testing.T, from string) string {
	t.Helper()
	root := t.TempDir()
	to := filepath.Join(root, filepath.Base(from))
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", from, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, filepath.Base(file)), string(text))
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

// directory makes one that every user can look into; t.TempDir's cannot, and its
// name can be too long for a socket's.
func directory(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "twin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// busPolicy is the system bus's, as dbus-daemon ships it, with our part.
const busPolicy = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <include>%s</include>
</busconfig>
`

// startBus starts a dbus-daemon that ends with the test, and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon; scripts/prepare race installs it")
	}
	ours, err := filepath.Abs("../../dbusserver/io.tripleo.Sidecar1.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := directory(t)
	config := filepath.Join(dir, "bus.conf")
	write(t, config, fmt.Sprintf(busPolicy, filepath.Join(dir, "bus"), ours))
	daemon := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	var said strings.Builder // it complains of limits that it cannot raise
	daemon.Stderr = &said
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if the tests end without their cleanup
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon: %v %s", daemon.Wait(), said.String())
	}
	address, _, _ := strings.Cut(strings.TrimSpace(line), ",") // guid=… follows
	return address
}
