//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/lsm"
)

// useMemory takes more and more memory, until the kernel ends it.
func useMemory([]string) map[string]string {
	for {
		memory, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return map[string]string{attackFailed: err.Error()}
		}
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = 1
		}
	}
}

// controllers skips the test where the control groups of units have no such controller.
func controllers(t *testing.T, names ...string) {
	t.Helper()
	text, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !slices.Contains(strings.Fields(string(text)), name) {
			lacking(t, "the host's control groups have no controller %s", name)
		}
	}
}

// TestLimitsAreInForce reads from the kernel what the profile asks for.
func TestLimitsAreInForce(t *testing.T) {
	begin(t)
	controllers(t, "memory", "pids", "cpu")
	s := start(t, neutron, bareNetwork(t).parameters())
	group := "/sys/fs/cgroup" + show(t, s.Runtime.Unit, "ControlGroup")
	for file, want := range map[string]string{"memory.max": "134217728", "pids.max": "64"} {
		text, err := os.ReadFile(filepath.Join(group, file))
		if got := strings.TrimSpace(string(text)); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", file, got, err, want)
		}
	}
}

// TestLimitsOutOfMemory has a payload take more memory than its profile gives it. The
// kernel ends it, nothing else, and List says why.
func TestLimitsOutOfMemory(t *testing.T) {
	begin(t)
	controllers(t, "memory")
	a := targetOf(t, "dnsmasq")
	s := a.begin(t, "use-memory")
	var r interfaces.Runtime
	eventually(t, 10*time.Second, "it has failed", func() bool {
		listed, err := as(t, a.agent).List(minute(t), interfaces.ListParameters{ID: &s.ID})
		if err != nil || len(listed) != 1 {
			return false
		}
		r = listed[0].Runtime
		return r.State == interfaces.StateRestarting || r.State == interfaces.StateFailed
	})
	if r.Result == nil || *r.Result != "oom-kill" || r.ExitSignal == nil || *r.ExitSignal != "SIGKILL" {
		t.Errorf("%+v, want that it was killed for want of memory", r)
	}
	if r.MemoryLimit == nil || *r.MemoryLimit != interfaces.MemoryLimitProfile {
		t.Errorf("the limit of %v was reached, want the profile's", r.MemoryLimit)
	}
	for _, path := range []string{"/oom", "/run/sidecar/launch/oom"} { // conmon's
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	if text := run(t, "sidecarctl", "list", "--agent", a.agent); !strings.Contains(text, "out of memory") {
		t.Errorf("list says %s", text)
	}
	if _, err := as(t, a.agent).Launch(minute(t), a.parameters); err != nil {
		t.Errorf("again, after it has failed: %v", err)
	}
}

// TestLaunchFiveTimesAppendsToItsLog: an instance may write what it wrote before, also
// where each container has a label of its own unless it is told (SELinux).
func TestLaunchFiveTimesAppendsToItsLog(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	p := n.parameters("--log-facility=" + n.file("log"))
	if err := os.Chown(n.directory, neutronUser, neutronUser); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s := start(t, neutron, p)
		if _, err := as(t, neutron).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(n.file("log"))
	if begun := strings.Count(string(text), " started, version "); err != nil || begun != 5 {
		t.Errorf("its log tells of %d starts, %v, want 5: %s", begun, err, text)
	}
}

// useFiles appends to the first file that it is given the name of and reads it.
func useFiles(names []string) map[string]string {
	file, err := os.OpenFile(names[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = file.WriteString("a line\n")
		err = errors.Join(err, file.Close())
	}
	_, readErr := os.ReadFile(names[0])
	return map[string]string{"append": errorName(err), "read": errorName(readErr)}
}

// TestSELinuxKeepsAgentsApart has a payload of another agent use what an agent's payload
// has written into a directory that both agents may use, as the same user. Only the
// agents' levels are in between.
func TestSELinuxKeepsAgentsApart(t *testing.T) {
	begin(t)
	if !lsm.Host().SELinux.Enforcing {
		lacking(t, "SELinux does not enforce anything here")
	}
	shipped, err := os.ReadFile(policyFile("agents.d", neutron))
	if err != nil {
		t.Fatal(err)
	}
	withPolicy(t, "agents.d", "other", string(shipped))
	a := targetOf(t, "dnsmasq")
	for _, step := range []struct{ agent, want string }{{neutron, "ok"}, {neutron, "ok"}, {"other", "EACCES"}} {
		a.agent = step.agent
		s := a.begin(t, "use-files", filepath.Join(a.writable, "log"))
		for what, got := range a.result(t, s) {
			if got != step.want {
				t.Errorf("%s of a file of %s by %s: %s, want %s", what, neutron, step.agent, got, step.want)
			}
		}
		if _, err := as(t, a.agent).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(a.resultFile()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConfinementIsInForce reads the kernel's labels of a payload and of the daemon, and what check
// says of the host.
func TestConfinementIsInForce(t *testing.T) {
	begin(t)
	host := lsm.Host()
	var label, daemonLabel, says string
	switch {
	case host.AppArmor.On:
		label, daemonLabel, says = lsm.Profile, "sidecard (enforce)", "AppArmor: profiles sidecar and sidecard"
	case host.SELinux.Enforcing:
		label, daemonLabel = ":sidecar_payload_t:"+levelOf(t, neutron), ":sidecard_t:"
		says = "SELinux: enforcing, with the policy module sidecar"
	default:
		lacking(t, "this host has neither AppArmor nor SELinux")
	}
	s := start(t, neutron, bareNetwork(t).parameters())
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", *s.Runtime.ProcessID))
	if err != nil || !strings.Contains(string(text), label) {
		t.Errorf("the payload's label is %q, %v; want %s", text, err, label)
	}
	if daemon, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", expectedDaemon)); err != nil || !strings.Contains(string(daemon), daemonLabel) {
		t.Errorf("the daemon's label is %q, %v; want %s", daemon, err, daemonLabel)
	}
	if got := run(t, "sidecarctl", "check"); !strings.Contains(got, says) || strings.Contains(got, "apparmor_parser") || strings.Contains(got, "semodule") {
		t.Errorf("check says %s", got)
	}
}

// levelOf returns the SELinux level of an agent, as check tells it.
func levelOf(t *testing.T, agent string) string {
	t.Helper()
	var checked struct {
		Agents []struct{ Name, SELinuxLevel string }
	}
	if err := json.Unmarshal([]byte(run(t, "sidecarctl", "check", "--output=json")), &checked); err != nil {
		t.Fatal(err)
	}
	for _, a := range checked.Agents {
		if a.Name == agent {
			return a.SELinuxLevel
		}
	}
	t.Fatalf("check does not know %s", agent)
	return ""
}
