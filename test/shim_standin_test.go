//go:build testhost

package test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// standInAgent is an agent with a pid namespace of its own.
const standInAgent = "stand-in-agent"

const standInAgentFile = `profiles = ["dnsmasq", "conntrackd"]
network-namespaces = ["qdhcp-*", "qrouter-*"]
state-directories = ["/var/lib/neutron"]
subdirectories = ["dhcp", "ha_confs"]
stand-ins = true
`

// container is an agent's pid namespace, with a shell as its first process, which
// reaps what is orphaned.
type container struct {
	shims
	init int    // first process, as the host sees it
	ns   string // its pid namespace
}

// newContainer makes a container, with what the lines of a shell script mount in it.
func newContainer(t *testing.T, s shims, mounts ...string) *container {
	t.Helper()
	script := strings.Join(append(append([]string{"set -e"}, mounts...), "exec sh -c 'while :; do sleep 0.2; done' mounted"), "\n")
	// Mounts of the host show in it, as where /run/netns is shared into a container.
	cmd := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave", "sh", "-c", script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &container{shims: s}
	t.Cleanup(func() { c.end(t); _ = cmd.Wait() })
	eventually(t, 10*time.Second, "the container has a process", func() bool {
		children, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/" + strconv.Itoa(cmd.Process.Pid) + "/children")
		c.init, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		argv, _ := cmdline(max(c.init, 1))
		return c.init > 0 && len(argv) > 0 && argv[len(argv)-1] == "mounted"
	})
	c.ns = namespaceOf(t, c.init, "pid")
	return c
}

// end ends the container, and so all of its processes.
func (c *container) end(t *testing.T) {
	t.Helper()
	_ = syscall.Kill(c.init, syscall.SIGKILL)
	eventually(t, 10*time.Second, "the container is gone", func() bool { return !alive(c.init) })
}

// command is a shim in the container.
func (c *container) command(t *testing.T, netns, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := c.shims.command(t, netns, "tag", name, args...)
	argv := append([]string{"nsenter", "--target", strconv.Itoa(c.init), "--pid", "--mount"}, cmd.Args...)
	return exec.CommandContext(minute(t), argv[0], argv[1:]...)
}

// do runs a shim that must do without a word.
func (c *container) do(t *testing.T, netns, name string, args ...string) {
	t.Helper()
	if r := wait(t, c.command(t, netns, name, args...)); r.code != 0 || r.out != "" || r.err != "" {
		t.Fatalf("%s %q: %v", name, args, r)
	}
}

// showing returns the processes of the container that show a command line, by their
// numbers on the host and in the container.
func (c *container) showing(t *testing.T, text string) map[int]int {
	t.Helper()
	found := map[int]int{}
	for _, pid := range processesWith(text) {
		link, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
		if err != nil || link != c.ns {
			continue
		}
		numbers := strings.Fields(status(t, pid, "NSpid"))
		inside, _ := strconv.Atoi(numbers[len(numbers)-1])
		found[pid] = inside
	}
	return found
}

// standIn returns the one process of the container with this command line, whose
// number is in the pid file. An old one makes way in a moment.
func (c *container) standIn(t *testing.T, text, pidFile string) int {
	t.Helper()
	var found map[int]int
	eventually(t, 5*time.Second, "one process of the container shows the command line", func() bool {
		found = c.showing(t, text)
		return len(found) == 1
	})
	for outside, inside := range found {
		if written, err := readPID(pidFile); pidFile != "" && (err != nil || written != inside) {
			t.Errorf("the pid file holds %d, %v; the stand-in is %d", written, err, inside)
		}
		return outside
	}
	return 0
}

func withStandIns(t *testing.T) shims {
	t.Helper()
	withPolicy(t, "agents.d", standInAgent, standInAgentFile)
	stopAllAtEnd(t, standInAgent)
	return shimsOf(t, standInAgent)
}

func TestShimStandInIsWhatTheAgentSees(t *testing.T) {
	begin(t)
	c := newContainer(t, withStandIns(t))
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	line := "dnsmasq " + strings.Join(n.arguments(), " ")
	c.do(t, n.namespace, "dnsmasq", n.arguments()...)
	sidecar := only(t, standInAgent)
	standIn := c.standIn(t, line, n.file("pid"))
	t.Logf("a stand-in's memory: %s resident, of which %s its own, %s threads", status(t, standIn, "VmRSS"), status(t, standIn, "RssAnon"), status(t, standIn, "Threads"))
	if got := n.lease(t); got != "192.0.2.10" {
		t.Errorf("the machine got %s", got)
	}
	n.assign(t, "192.0.2.20")
	if err := syscall.Kill(standIn, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the machine gets its new address", func() bool { return n.lease(t) == "192.0.2.20" })
	if err := syscall.Kill(standIn, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stand-in is gone", func() bool { return !alive(standIn) })
	gone(t, standInAgent, sidecar.ID)
}

func TestShimStandInAfterARestartOfTheAgent(t *testing.T) {
	begin(t)
	s := withStandIns(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	line := "dnsmasq " + strings.Join(n.arguments(), " ")
	c := newContainer(t, s)
	c.do(t, n.namespace, "dnsmasq", n.arguments()...)
	before := only(t, standInAgent)
	c.end(t)
	if got := n.lease(t); got != "192.0.2.10" {
		t.Errorf("without the agent the machine got %s", got)
	}
	n.assign(t, "192.0.2.20") // the agent writes its files again before it starts
	again := newContainer(t, s)
	again.do(t, n.namespace, "dnsmasq", n.arguments()...)
	after := only(t, standInAgent)
	if *after.Runtime.ProcessID != *before.Runtime.ProcessID {
		t.Errorf("process %d, it was %d: not adopted", *after.Runtime.ProcessID, *before.Runtime.ProcessID)
	}
	first := again.standIn(t, line, n.file("pid"))
	eventually(t, 20*time.Second, "it has read its files again", func() bool { return n.lease(t) == "192.0.2.20" })
	// With its stand-in there, a launch is a restart.
	again.do(t, n.namespace, "dnsmasq", n.arguments()...)
	if now := only(t, standInAgent); *now.Runtime.ProcessID == *before.Runtime.ProcessID {
		t.Error("a restart has not replaced it")
	}
	second := again.standIn(t, line, n.file("pid"))
	if second == first {
		t.Error("the old stand-in is still there")
	}
	// What ends by itself, or is stopped by an operator, takes its stand-in along.
	if _, err := as(t, standInAgent).Stop(minute(t), interfaces.StopParameters{ID: before.ID}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the stand-in is gone", func() bool { return !alive(second) })
}

func TestShimStandInAndKillScripts(t *testing.T) {
	begin(t)
	c := newContainer(t, withStandIns(t))
	n := bareNetwork(t)
	line := "dnsmasq " + strings.Join(n.quiet().Arguments, " ")
	for _, signal := range []string{"15", "9"} {
		c.do(t, n.namespace, "dnsmasq", n.quiet().Arguments...)
		sidecar := only(t, standInAgent)
		standIn := c.standIn(t, line, n.file("pid"))
		inside := c.showing(t, line)[standIn]
		c.do(t, "", "dnsmasq-kill", "HUP", strconv.Itoa(inside))
		if !alive(standIn) || !alive(int(*sidecar.Runtime.ProcessID)) {
			t.Error("HUP has ended it")
		}
		c.do(t, "", "dnsmasq-kill", signal, strconv.Itoa(inside))
		eventually(t, 5*time.Second, "the stand-in is gone", func() bool { return !alive(standIn) })
		gone(t, standInAgent, sidecar.ID)
		if r := wait(t, c.command(t, "", "dnsmasq-kill", "9", strconv.Itoa(inside))); r.code != 1 || !strings.Contains(r.err, "No such process") {
			t.Errorf("killed when it is gone: %v", r)
		}
	}
}

// Nobody can pass KILL on: the sidecar goes on. But who starts it again wants what
// was killed replaced.
func TestShimStandInKilledWithoutAKillScript(t *testing.T) {
	begin(t)
	c := newContainer(t, withStandIns(t))
	n := bareNetwork(t)
	line := "dnsmasq " + strings.Join(n.quiet().Arguments, " ")
	c.do(t, n.namespace, "dnsmasq", n.quiet().Arguments...)
	before := only(t, standInAgent)
	standIn := c.standIn(t, line, n.file("pid"))
	if err := syscall.Kill(standIn, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stand-in is gone", func() bool { return !alive(standIn) })
	checkRunningPID(t, standInAgent, before)
	c.do(t, n.namespace, "dnsmasq", n.quiet().Arguments...)
	if now := only(t, standInAgent); numberOf(now) == numberOf(before) {
		t.Error("what was killed has not been replaced")
	}
	c.standIn(t, line, n.file("pid"))
}

// conntrackd writes no pid file: right after the start, Neutron looks for the one
// process with its command line.
func TestShimStandInOfConntrackdIsTheOnlyOne(t *testing.T) {
	begin(t)
	c := newContainer(t, withStandIns(t))
	k, dir := newConntrackd(t)
	command := "conntrackd -d -C " + dir + "/conntrackd.conf"
	c.do(t, k.namespace, "conntrackd", k.arguments...)
	sidecar := only(t, standInAgent)
	// It ends by its own command, which its stand-in hears of later, and is started again.
	run(t, "conntrackd", "-C", dir+"/conntrackd.conf", "-k")
	gone(t, standInAgent, sidecar.ID)
	c.do(t, k.namespace, "conntrackd", k.arguments...)
	standIn := c.standIn(t, command, "")
	c.do(t, "", "default-service-kill", "15", strconv.Itoa(c.showing(t, command)[standIn]))
	eventually(t, 6*time.Second, "the stand-in is gone", func() bool { return !alive(standIn) })
	gone(t, standInAgent, sidecar.ID)
}
