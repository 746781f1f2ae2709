//go:build testhost

package test

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

const shimProgram = "/usr/libexec/sidecar/sidecar-shim"

// shims is a directory with links of the shim, as in an agent's image, and the
// socket of the agent that uses them.
type shims struct {
	directory string
	socket    string
}

// shimsOf makes links for an agent.
func shimsOf(t testing.TB, agent string) shims {
	t.Helper()
	dir := t.TempDir()
	run(t, shimProgram, "link", "programs", dir)
	run(t, shimProgram, "link", "kill-scripts", dir)
	return shims{dir, socketOf(agent)}
}

// result is what a process has done.
type result struct {
	code     int // as a shell shows it
	out, err string
	took     time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d, out %q, err %q", r.code, r.out, r.err)
}

// command is a shim as Neutron runs it: ip netns exec NS env PROCESS_TAG=… ARGV. No
// namespace means the host's own.
func (s shims) command(t testing.TB, netns, tag, name string, args ...string) *exec.Cmd {
	t.Helper()
	argv := append([]string{"env", "SIDECAR_ADDRESS=" + s.socket, "PROCESS_TAG=" + tag, "PATH=" + s.directory + ":/usr/sbin:/usr/bin:/sbin:/bin", name}, args...)
	if netns != "" {
		argv = append([]string{"ip", "netns", "exec", netns}, argv...)
	}
	return exec.CommandContext(minute(t), argv[0], argv[1:]...)
}

// wait runs the command until it ends and its pipes are closed, as Neutron does.
func wait(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	code := status.ExitStatus()
	if status.Signaled() { //nolint:misspell // the name of syscall's method
		code = 128 + int(status.Signal())
	}
	return result{code, out.String(), errs.String(), time.Since(began)}
}

// start starts what must come up without a word.
func (s shims) start(t testing.TB, netns, tag, name string, args ...string) {
	t.Helper()
	if r := wait(t, s.command(t, netns, tag, name, args...)); r.code != 0 || r.out != "" || r.err != "" {
		t.Fatalf("%s: %v", name, r)
	}
}

// kill runs a kill script.
func (s shims) kill(t testing.TB, script, signal string, pid int) result {
	t.Helper()
	r := wait(t, s.command(t, "", "", script, signal, strconv.Itoa(pid)))
	if r.took > slowness*5*time.Second {
		t.Errorf("%s took %v", script, r.took)
	}
	return r
}

// killed runs a kill script that must do without a word.
func (s shims) killed(t testing.TB, script, signal string, pid int) {
	t.Helper()
	if r := s.kill(t, script, signal, pid); r.code != 0 || r.out != "" || r.err != "" {
		t.Errorf("%s %s %d: %v", script, signal, pid, r)
	}
}

// only returns the one sidecar that an agent has.
func only(t testing.TB, agent string) *interfaces.Sidecar {
	t.Helper()
	all, err := as(t, agent).List(minute(t), interfaces.ListParameters{})
	if err != nil || len(all) != 1 {
		t.Fatalf("sidecars of %s: %v, %v; want one", agent, all, err)
	}
	return &all[0]
}

func TestShimStartsWatchesAndStopsDnsmasq(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	s.start(t, n.namespace, "dnsmasq-"+n.id, "dnsmasq", n.arguments()...)
	pid, err := readPID(n.file("pid"))
	if err != nil {
		t.Fatal(err)
	}
	sidecar := only(t, neutron)
	checkRunning(t, sidecar, n.parameters())
	if got := processesWith(strings.Join(n.arguments(), " ")); len(got) != 1 || got[0] != pid {
		t.Errorf("processes %v show the command line, want only %d", got, pid)
	}
	if got := environ(t, pid)["PROCESS_TAG"]; got != "dnsmasq-"+n.id {
		t.Errorf("PROCESS_TAG is %q", got)
	}
	if info, err := os.Stat(n.file("pid")); err != nil || info.Mode().Perm() != 0o644 || info.Sys().(*syscall.Stat_t).Uid != neutronUser {
		t.Errorf("pid file %v, %v", info, err)
	}
	if got := n.lease(t); got != "192.0.2.10" {
		t.Errorf("the machine got %s", got)
	}
	n.assign(t, "192.0.2.20")
	s.killed(t, "dnsmasq-kill", "HUP", pid)
	eventually(t, 20*time.Second, "the machine gets its new address", func() bool { return n.lease(t) == "192.0.2.20" })
	// A start of what runs replaces it.
	s.start(t, n.namespace, "dnsmasq-"+n.id, "dnsmasq", n.arguments("--dhcp-broadcast")...)
	again, err := readPID(n.file("pid"))
	if err != nil || again == pid || alive(pid) {
		t.Errorf("process %d, %v, in place of %d", again, err, pid)
	}
	s.killed(t, "dnsmasq-kill", "15", again)
	gone(t, neutron, sidecar.ID)
	if r := s.kill(t, "dnsmasq-kill", "9", again); r.code != 1 || !strings.Contains(r.err, "No such process") {
		t.Errorf("killed when it is gone: %v", r)
	}
}

// metadataProxy writes the configuration of a network's metadata proxy, and returns
// its path and the pid file's.
func (n *network) metadataProxy(t testing.TB) (configuration, pidFile string) {
	t.Helper()
	for _, dir := range []string{"ns-metadata-proxy", "external/pids"} {
		if err := os.MkdirAll(neutronDirectory+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	configuration = neutronDirectory + "/ns-metadata-proxy/" + n.id + ".conf"
	pidFile = neutronDirectory + "/external/pids/" + n.id + ".pid.haproxy"
	write(t, configuration, fmt.Sprintf(metadataConfiguration, pidFile, neutronDirectory+"/metadata_proxy", n.id))
	t.Cleanup(func() { _ = errors.Join(os.Remove(configuration), os.Remove(pidFile)) })
	return configuration, pidFile
}

func TestShimStartsReloadsAndKillsHaproxy(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	run(t, "ip", "-n", n.namespace, "link", "set", "lo", "up")
	configuration, pidFile := n.metadataProxy(t)
	s.start(t, n.namespace, "haproxy-"+n.id, "haproxy", "-f", configuration)
	pid, err := readPID(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if argv, err := cmdline(pid); err != nil || !strings.Contains(strings.Join(argv, " "), n.id) {
		t.Errorf("process %d is %q, %v", pid, argv, err)
	}
	sidecar := only(t, neutron)
	s.killed(t, "haproxy-kill", "HUP", pid)
	time.Sleep(500 * time.Millisecond)
	if now := only(t, neutron); *now.Runtime.ProcessID != int64(pid) || !alive(pid) {
		t.Errorf("after HUP it is process %d, it was %d", *now.Runtime.ProcessID, pid)
	}
	if now, err := readPID(pidFile); err != nil || now != pid {
		t.Errorf("after HUP the pid file holds %d, %v; it was %d", now, err, pid)
	}
	s.killed(t, "haproxy-kill", "9", pid)
	gone(t, neutron, sidecar.ID)
}

// What goes into a container must not need anything that the image may not have.
func TestShimIsSmallAndStatic(t *testing.T) {
	begin(t)
	for _, program := range []string{shimProgram, "/usr/libexec/sidecar/sidecar-init"} {
		info, err := os.Stat(program)
		if err != nil || info.Size() > 8<<20 {
			t.Errorf("%s: %v, %v; want 8 MiB at most", program, info, err)
		}
		binary, err := elf.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		defer binary.Close()
		for _, p := range binary.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is linked dynamically", program)
			}
		}
	}
}

// The real program is asked what it can do, and nothing is launched.
func TestShimPassesProbesOn(t *testing.T) {
	begin(t)
	s := shimsOf(t, neutron)
	for line, want := range map[string]string{ // radvd's own exit code is 1
		"dnsmasq --version":              "Dnsmasq version",
		"dnsmasq --test --local-service": "syntax check OK",
		"haproxy -v":                     "HAProxy version",
		"keepalived --version":           "Keepalived v",
		"radvd --version":                "Version:",
	} {
		words := strings.Fields(line)
		if r := wait(t, s.command(t, "", "", words[0], words[1:]...)); r.code > 1 || !strings.Contains(r.out+r.err, want) || strings.Contains(r.err, "sidecar:") {
			t.Errorf("%s: %v", line, r)
		}
	}
	if r := wait(t, s.command(t, "", "", "conntrackd", "-C", "/nonexistent", "-n")); r.code == 0 || strings.Contains(r.err, "sidecar:") {
		t.Errorf("conntrackd -n: %v", r)
	}
}
