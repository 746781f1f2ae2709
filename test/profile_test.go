//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// neutronUser is the user of the agents in kolla's images, who owns the agents'
// files.
const neutronUser = 42435

// kind is a kind of side process as Neutron's agents start it: the agent, the
// namespace, the arguments of neutron-argv.txt and the pid files that the agent
// looks into.
type kind struct {
	agent        string
	profile      string
	namespace    string
	arguments    []string
	ignored      []string // arguments behind them that the process does not get
	pidFiles     []string
	stale        []string // other files that the agent removes before a start
	processes    int      // how many show the command line
	capabilities []string
	deafToHUP    bool // HUP ends it
}

// router is a Neutron router with a namespace that has a network interface.
type router struct {
	id        string
	namespace string
}

const (
	routerInterface = "qr-0a1b2c3d-4e"
	haInterface     = "ha-0a1b2c3d-4e"
	haAddress       = "169.254.192.7"
)

// withL3 installs the shipped example of the L3 agent under a name of the tests',
// with what it says to add for prefix delegation.
func withL3(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(exampleAgents, "neutron-l3.toml"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "l3"
	withPolicy(t, "agents.d", name, strings.NewReplacer(`["conntrackd",`, `["conntrackd", "dibbler-client",`, `"ra"]`, `"pd", "ra"]`).Replace(string(text)))
	eventually(t, 5*time.Second, "the agent has its socket", func() bool { // systemd 252 does not wait for a reload
		_, err := os.Stat(socketOf(name))
		return err == nil
	})
	return name
}

// newRouter makes a router's namespace, with an interface towards its networks
// and one towards its peers.
func newRouter(t *testing.T) router {
	t.Helper()
	r := router{id: uuid()}
	r.namespace = "qrouter-" + r.id
	namespace(t, r.namespace)
	for name, address := range map[string]string{routerInterface: "fe80::1/64", haInterface: haAddress + "/18"} {
		run(t, "ip", "-n", r.namespace, "link", "add", name, "type", "veth", "peer", "name", "peer-"+name[:2])
		run(t, "ip", "-n", r.namespace, "address", "add", address, "dev", name)
		run(t, "ip", "-n", r.namespace, "link", "set", "peer-"+name[:2], "up")
		run(t, "ip", "-n", r.namespace, "link", "set", name, "up")
	}
	run(t, "ip", "-n", r.namespace, "link", "set", "lo", "up")
	return r
}

// place makes a directory of the agent below its state directory, as the agent's
// user, and removes it when the test ends.
func place(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(neutronDirectory, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, neutronUser, neutronUser); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (k kind) parameters() interfaces.LaunchParameters {
	return interfaces.LaunchParameters{
		Profile: k.profile, NetworkNamespace: &k.namespace, Arguments: slices.Concat(k.arguments, k.ignored), ProcessTag: new(k.profile + "-tag"),
	}
}

// launch starts the sidecar as the agent does, and looks at all that can be seen
// of it. It is stopped when the test ends.
func (k kind) launch(t *testing.T) *interfaces.Sidecar {
	t.Helper()
	for _, file := range slices.Concat(k.pidFiles, k.stale) {
		_ = os.Remove(file) // as Neutron does
	}
	s := launchUp(t, k.agent, k.parameters())
	k.check(t, s)
	return s
}

// check holds a sidecar to what the agent and the administrator expect, at the
// moment it is called.
func (k kind) check(t *testing.T, s *interfaces.Sidecar) {
	t.Helper()
	found := processesWith(strings.Join(k.arguments, " "))
	k.checkProcesses(t, s, found)
	if len(found) != k.processes {
		t.Errorf("processes %v show the command line, want %d", found, k.processes)
	}
}

// checkProcesses is check for the processes that were found.
func (k kind) checkProcesses(t *testing.T, s *interfaces.Sidecar, found []int) {
	t.Helper()
	if s.Runtime.State != interfaces.StateReady || s.Runtime.ProcessID == nil {
		t.Fatalf("%s is %s with process %v", s.ID, s.Runtime.State, s.Runtime.ProcessID)
	}
	pid := int(*s.Runtime.ProcessID)
	if !slices.Contains(found, pid) {
		t.Errorf("processes %v show the command line, want %d among them", found, pid)
	}
	for i, file := range k.pidFiles {
		written, err := readPID(file)
		if err != nil || i == 0 && written != pid || !slices.Contains(found, written) {
			t.Errorf("%s holds %d (%v), want one of %v, the main one being %d", file, written, err, found, pid)
		}
	}
	k.checkConfined(t, found)
}

// checkConfined looks at namespaces and privileges.
func (k kind) checkConfined(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if got, want := namespaceOf(t, pid, "net"), netnsOf(t, k.namespace); got != want {
			t.Errorf("process %d is in network namespace %s, want %s", pid, got, want)
		}
		if namespaceOf(t, pid, "pid") == namespaceOf(t, os.Getpid(), "pid") {
			t.Errorf("process %d is in the host's pid namespace", pid)
		}
		want := fmt.Sprintf("%016x", k.bits(t))
		for _, set := range []string{"CapBnd", "CapPrm", "CapEff", "CapAmb"} {
			if got := status(t, pid, set); got != want {
				t.Errorf("%s of process %d is %s, want %s", set, pid, got, want)
			}
		}
		user := strings.TrimSuffix(strings.Repeat(fmt.Sprint(neutronUser, " "), 4), " ")
		for _, ids := range []string{"Uid", "Gid"} {
			if got := status(t, pid, ids); got != user {
				t.Errorf("%s of process %d is %s, want %s", ids, pid, got, user)
			}
		}
		if got := status(t, pid, "Groups"); got != fmt.Sprint(neutronUser) {
			t.Errorf("process %d is in the groups %s", pid, got)
		}
		if got := status(t, pid, "NoNewPrivs"); got != "1" {
			t.Errorf("process %d may gain privileges", pid)
		}
	}
}

// capabilityBits are the bits of linux/capability.h that profiles use.
var capabilityBits = map[string]int{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID,
	"SETUID": unix.CAP_SETUID, "NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_ADMIN": unix.CAP_NET_ADMIN,
	"NET_RAW": unix.CAP_NET_RAW, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
}

func (k kind) bits(t *testing.T) uint64 {
	t.Helper()
	var bits uint64
	for _, name := range k.capabilities {
		bit, ok := capabilityBits[name]
		if !ok {
			t.Fatalf("no bit for %s", name)
		}
		bits |= 1 << bit
	}
	return bits
}

// reloads sends HUP and holds the sidecar to go on, with the same main process.
func (k kind) reloads(t *testing.T, s *interfaces.Sidecar) {
	t.Helper()
	if err := as(t, k.agent).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGHUP"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	now := get(t, k.agent, s.ID)
	if cmp.Diff(s.Runtime.ProcessID, now.Runtime.ProcessID) != "" || now.Runtime.Restarts != 0 {
		t.Errorf("process %v after a reload, it was %v", now.Runtime.ProcessID, s.Runtime.ProcessID)
	}
	// On a slow machine the reload may only begin after this look.
	var found []int
	eventually(t, 5*time.Second, "as many processes as before", func() bool {
		found = processesWith(strings.Join(k.arguments, " "))
		return len(found) == k.processes
	})
	k.checkProcesses(t, now, found)
}

// ends shows that a signal to the main process, by its number as kill(1) sends
// it, is taken as a stop: nothing is repaired, nothing is left.
func (k kind) ends(t *testing.T, s *interfaces.Sidecar, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(int(*s.Runtime.ProcessID), signal); err != nil {
		t.Fatal(err)
	}
	gone(t, k.agent, s.ID)
	if found := processesWith(strings.Join(k.arguments, " ")); len(found) > 0 {
		t.Errorf("processes %v are left after %v", found, signal)
	}
}

// stops stops the sidecar through the service.
func (k kind) stops(t *testing.T, s *interfaces.Sidecar) {
	t.Helper()
	reply, err := as(t, k.agent).Stop(minute(t), interfaces.StopParameters{ID: s.ID})
	if err != nil {
		t.Fatal(err)
	}
	if reply.ExitSignal != nil && *reply.ExitSignal == "SIGKILL" {
		t.Error("it had to be killed")
	}
	if err := becomesClean(); err != nil {
		t.Errorf("left after the stop: %v", err)
	}
}

// lives is the whole life of a sidecar, as every kind has it.
func (k kind) lives(t *testing.T) {
	t.Helper()
	s := k.launch(t)
	if k.deafToHUP {
		k.ends(t, s, syscall.SIGHUP)
		s = k.launch(t)
	} else {
		k.reloads(t, s)
	}
	k.ends(t, s, syscall.SIGTERM)
	k.comesBack(t)
}

// comesBack is the part of it that follows an end: launched, launched again in its
// place, killed, launched and stopped.
func (k kind) comesBack(t *testing.T) {
	t.Helper()
	s := k.launch(t)
	again := k.launch(t)
	if *again.Runtime.ProcessID == *s.Runtime.ProcessID || again.ID != s.ID {
		t.Errorf("launched again it is %s, process %d, as before", again.ID, *again.Runtime.ProcessID)
	}
	k.ends(t, again, syscall.SIGKILL)
	k.stops(t, k.launch(t))
}
