//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// withHealth has a profile probe its processes until the test ends.
func withHealth(t *testing.T, profile, health, restart string) {
	t.Helper()
	text, ok := profileFiles()[profile]
	if !ok {
		text = shippedFiles(t)[profile]
	}
	text = strings.TrimPrefix(text, engineLine(usedEngine)) // writePolicy adds it
	text = regexp.MustCompile(`(?m)^restart .*$`).ReplaceAllString(text, `restart = "`+restart+`"`)
	withPolicy(t, "profiles.d", profile, "health = { "+health+" }\n"+text)
}

// becomes waits until a sidecar has this health, and returns it.
func becomes(t *testing.T, agent, id string, want interfaces.HealthState) interfaces.Runtime {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r := get(t, agent, id).Runtime
		if r.Health != nil && *r.Health == want {
			return r
		}
		if time.Now().After(end) {
			text, _ := json.Marshal(r)
			t.Fatalf("%s is not %s but %s", id, want, text)
		}
	}
}

// probers are the processes that probe sidecars.
func probers() []int {
	return slices.DeleteFunc(processesWith("sidecar-launch probe"), func(pid int) bool {
		argv, _ := cmdline(pid)
		return len(argv) < 2 || argv[1] != "probe"
	})
}

// TestLifecycleHealthOfDnsmasq: a DNS server that does not answer is unhealthy, and nothing else
// happens to it.
func TestLifecycleHealthOfDnsmasq(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		withHealth(t, "dnsmasq", `udp = 53, interval = "1s", timeout = "500ms", failures = 2`, "no")
		n := newNetwork(t)
		s := start(t, neutron, n.parameters())
		pid := int(*s.Runtime.ProcessID)
		since := *becomes(t, neutron, s.ID, interfaces.HealthHealthy).HealthSinceUSec
		if age := time.Since(time.UnixMicro(since)); age < 0 || age > time.Minute {
			t.Errorf("healthy since %v", age)
		}
		m, _ := monitor(t, as(t, neutron), interfaces.MonitorParameters{})
		kill(t, pid, syscall.SIGSTOP)
		r := becomes(t, neutron, s.ID, interfaces.HealthUnhealthy)
		if want := "udp 127.0.0.1:53: no answer to a DNS query"; r.HealthReason == nil || *r.HealthReason != want || r.State != interfaces.StateReady || r.Restarts != 0 {
			t.Errorf("stopped, it is %+v, want the reason %q", r, want)
		}
		_, event := m.until(t, s.ID, interfaces.EventChanged)
		for *event.Sidecar.Runtime.Health != interfaces.HealthUnhealthy { // becomes may have seen that it is healthy before the service
			_, event = m.until(t, s.ID, interfaces.EventChanged)
		}
		if diff := cmp.Diff(r, event.Sidecar.Runtime); diff != "" {
			t.Errorf("the event (-listed +told):\n%s", diff)
		}
		if got := run(t, "sidecarctl", "list", "--agent", neutron); !strings.Contains(got, "ready, unhealthy") {
			t.Errorf("list says %s", got)
		}
		if got := run(t, "busctl", "call", "io.tripleo.Sidecar1", "/io/tripleo/Sidecar1", "io.tripleo.Sidecar1.Manager", "List", "a{sv}", "0"); !strings.Contains(got, `"Health" s "unhealthy"`) {
			t.Errorf("D-Bus says %s", got)
		}
		killDaemon(t)
		awaitDaemon(t)
		if diff := cmp.Diff(r, get(t, neutron, s.ID).Runtime); diff != "" {
			t.Errorf("after a restart of the daemon (-before +after):\n%s", diff)
		}
		kill(t, pid, syscall.SIGCONT)
		r = becomes(t, neutron, s.ID, interfaces.HealthHealthy)
		if r.HealthReason != nil || *r.ProcessID != int64(pid) || *r.HealthSinceUSec < since {
			t.Errorf("on its feet again, it is %+v", r)
		}
		ends(t, neutron, s)
	})
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

// ends stops a sidecar, of which nothing is left: no process, no unit, no control group.
func ends(t *testing.T, agent string, s *interfaces.Sidecar) {
	t.Helper()
	group := "/sys/fs/cgroup" + show(t, s.Runtime.Unit, "ControlGroup")
	if len(probers()) != 1 {
		t.Errorf("probers: %v", probers())
	}
	since := now()
	if _, err := as(t, agent).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	for _, e := range entriesSince(t, since, "UNIT="+s.Runtime.Unit) {
		if text := e.text("MESSAGE"); strings.Contains(text, "timed out") || strings.Contains(text, "Killing") {
			t.Errorf("systemd says of the unit: %s", text)
		}
	}
	if _, err := os.Lstat(group); err == nil {
		t.Errorf("%s is left", group)
	}
	if left := probers(); len(left) > 0 {
		t.Errorf("probers %v are left", left)
	}
	eventually(t, 5*time.Second, "systemd has forgotten its units", func() bool {
		return run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "sidecar-"+s.ID+"*") == ""
	})
}

// TestLifecycleHealthRestart: systemd restarts what is unhealthy, and counts it.
func TestLifecycleHealthRestart(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		withHealth(t, "dnsmasq", `udp = 53, interval = "1s", timeout = "500ms", failures = 2, action = "restart"`, "on-failure")
		n := newNetwork(t)
		p := n.parameters()
		since := now()
		s := start(t, neutron, p)
		becomes(t, neutron, s.ID, interfaces.HealthHealthy)
		kill(t, int(*s.Runtime.ProcessID), syscall.SIGSTOP)
		var r interfaces.Runtime
		eventually(t, 30*time.Second, "it was restarted, and is healthy", func() bool {
			r = get(t, neutron, s.ID).Runtime
			return r.Restarts == 1 && r.Health != nil && *r.Health == interfaces.HealthHealthy
		})
		checkRunning(t, get(t, neutron, s.ID), p)
		if *r.ProcessID == *s.Runtime.ProcessID {
			t.Error("it is the same process")
		}
		said := false
		for _, e := range entriesSince(t, since, "SIDECAR_ID="+s.ID, "+", "UNIT="+s.Runtime.Unit) {
			said = said || strings.Contains(fmt.Sprint(e["MESSAGE"]), "unhealthy, and therefore restarted: udp 127.0.0.1:53: no answer to a DNS query")
		}
		if !said {
			t.Error("the journal does not say why")
		}
		time.Sleep(3 * time.Second) // further probes
		if again := get(t, neutron, s.ID).Runtime; again.Restarts != 1 {
			t.Errorf("%d restarts", again.Restarts)
		}
		ends(t, neutron, s)
	})
}

// TestLifecycleHealthCommand: a command of the image has what the payload has, and no more.
func TestLifecycleHealthCommand(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		withHealth(t, "probe", `command = ["/bin/sh", "-c", "cd {dir} && env >env.new && cat /proc/self/cgroup >cgroup.new && cat /proc/self/status >status.new && ls -l /proc/self/ns /proc/self/fd >links.new && cat /proc/self/mountinfo >mounts.new && for f in cgroup status links mounts env; do mv $f.new $f; done; exit 0", "{instance}"], interval = "1s"`, "no")
		namespace(t, "t-health")
		p := probe(t, "t-health")
		s := start(t, tester, p)
		becomes(t, tester, s.ID, interfaces.HealthHealthy)
		dir, pid := filepath.Dir(pidFileOf(p.Arguments)), int(*s.Runtime.ProcessID)
		fields := readFile(t, dir+"/status")
		for _, field := range []string{"Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"} {
			want := field + ":" + strings.Join(strings.Fields(status(t, pid, field)), " ")
			if !slices.ContainsFunc(strings.Split(fields, "\n"), func(line string) bool {
				name, value, _ := strings.Cut(line, ":")
				return name+":"+strings.Join(strings.Fields(value), " ") == want
			}) {
				t.Errorf("the payload has %s, the command:\n%s", want, fields)
			}
		}
		links := readFile(t, dir+"/links")
		for _, kind := range []string{"net", "mnt", "ipc", "uts", "pid", "cgroup", "user"} {
			if want := namespaceOf(t, pid, kind); !strings.Contains(links, want) {
				t.Errorf("the payload is in %s, the command:\n%s", want, links)
			}
		}
		if count := strings.Count(links, "->"); strings.Contains(links, "/sys/") || strings.Contains(links, "socket:") {
			t.Errorf("%d links, one of them leads to the host:\n%s", count, links)
		}
		want := environ(t, pid)
		for line := range strings.Lines(readFile(t, dir+"/env")) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if got, ok := want[name]; (!ok || got != value) && !slices.Contains([]string{"PWD", "SHLVL", "OLDPWD", "_"}, name) {
				t.Errorf("the command has %s=%s, the payload %q", name, value, got)
			}
		}
		ends(t, tester, s)
	})
}

// TestLifecycleHealthHostileCommand: a command that does not end, or does not end all of itself,
// is ended.
func TestLifecycleHealthHostileCommand(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		for name, test := range map[string]struct {
			script string
			want   interfaces.HealthState
			reason string
		}{
			"hangs":             {`trap "" TERM; sleep 4711 & while :; do wait; done`, interfaces.HealthUnhealthy, "/bin/sh has not ended"},
			"leaves a process":  {`(sleep 4711 >/dev/null 2>&1 &); exit 0`, interfaces.HealthHealthy, ""},
			"leaves its output": {`(sleep 4711 &); exit 0`, interfaces.HealthUnhealthy, "/bin/sh has not ended"},
			"writes endlessly":  {`while :; do echo "nonsense nonsense nonsense"; done`, interfaces.HealthUnhealthy, "/bin/sh has not ended"},
			"says why":          {`printf "no \\033[31mgood\\n\\nat all"; exit 3`, interfaces.HealthUnhealthy, "/bin/sh: exit status 3: no [31mgood at all"},
			"does not exist":    {"", interfaces.HealthUnhealthy, "/bin/no-such-program"},
		} {
			t.Run(name, func(t *testing.T) {
				command := `["/bin/sh", "-c", '''` + test.script + `''']`
				if test.script == "" {
					command = `["/bin/no-such-program"]`
				}
				timeout := "1s"
				if !strings.HasSuffix(test.reason, "has not ended") {
					timeout = "10s"
				}
				withHealth(t, "probe", `command = `+command+`, interval = "1s", timeout = "`+timeout+`", failures = 2`, "no")
				namespace(t, "t-health")
				s := start(t, tester, probe(t, "t-health"))
				r := becomes(t, tester, s.ID, test.want)
				if reason := r.HealthReason; (reason == nil) != (test.reason == "") || reason != nil && !strings.HasPrefix(*reason, test.reason) {
					t.Errorf("the reason is %v, want %q", reason, test.reason)
					if reason != nil {
						t.Log(*reason)
					}
				}
				eventually(t, 5*time.Second, "nothing of the command is left between two probes", func() bool { return len(processesWith("sleep 4711")) == 0 })
				if *r.ProcessID != *s.Runtime.ProcessID || r.State != interfaces.StateReady {
					t.Errorf("the payload: %+v", r)
				}
				ends(t, tester, s)
			})
		}
	})
}

// TestLifecycleHealthPayloadGone: the payload ends during a probe.
func TestLifecycleHealthPayloadGone(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		withHealth(t, "probe", `command = ["/bin/sleep", "4711"], interval = "1s", timeout = "30s"`, "no")
		namespace(t, "t-health")
		p := probe(t, "t-health")
		for _, end := range []func(*interfaces.Sidecar){
			func(s *interfaces.Sidecar) { kill(t, int(*s.Runtime.ProcessID), syscall.SIGKILL) },
			func(s *interfaces.Sidecar) { ends(t, tester, s) },
		} {
			s := start(t, tester, p)
			eventually(t, 10*time.Second, "the command runs", func() bool { return len(processesWith("sleep 4711")) > 0 })
			if r := get(t, tester, s.ID).Runtime; r.Health == nil || *r.Health != interfaces.HealthUnknown {
				t.Errorf("before the first probe has ended: %+v", r)
			}
			end(s)
			gone(t, tester, s.ID)
			if left := slices.Concat(processesWith("sleep 4711"), probers()); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		}
	})
}

// TestLifecycleHealthOfASocket: conntrackd, a daemon, closes its socket when it hangs.
func TestLifecycleHealthOfASocket(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		k, _ := newConntrackd(t)
		withHealth(t, "conntrackd", `unix = "{dir}/conntrackd.ctl", interval = "1s", failures = 1`, "no")
		s := k.launch(t)
		becomes(t, k.agent, s.ID, interfaces.HealthHealthy)
		socket := filepath.Join(filepath.Dir(k.arguments[len(k.arguments)-1]), "conntrackd.ctl")
		if err := os.Rename(socket, socket+".away"); err != nil {
			t.Fatal(err)
		}
		if r := becomes(t, k.agent, s.ID, interfaces.HealthUnhealthy); *r.HealthReason != socket+": does not exist: no such file or directory" {
			t.Errorf("the reason is %q", *r.HealthReason)
		}
		if err := os.Symlink("/run/systemd/private", socket); err != nil { // the host's, which the payload does not see
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		becomes(t, k.agent, s.ID, interfaces.HealthUnhealthy)
		if err := os.Rename(socket+".away", socket); err != nil {
			t.Fatal(err)
		}
		becomes(t, k.agent, s.ID, interfaces.HealthHealthy)
		ends(t, k.agent, s)
	})
}

// keepalivedFault is the example in docs/health.md: keepalived writes its state on SIGUSR1.
const keepalivedFault = `command = ["/bin/sh", "-c", "kill -USR1 1; sleep 1; ! grep -q 'State = FAULT' /tmp/keepalived.data"], interval = "2s", failures = 2`

// TestLifecycleHealthOfKeepalived: a router whose interface is down is in the state FAULT.
func TestLifecycleHealthOfKeepalived(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		k, _, r := newKeepalived(t)
		withHealth(t, "keepalived", keepalivedFault, "no")
		s := k.launch(t)
		becomes(t, k.agent, s.ID, interfaces.HealthHealthy)
		run(t, "ip", "-n", r.namespace, "link", "set", haInterface, "down")
		becomes(t, k.agent, s.ID, interfaces.HealthUnhealthy)
		run(t, "ip", "-n", r.namespace, "link", "set", haInterface, "up")
		becomes(t, k.agent, s.ID, interfaces.HealthHealthy)
		ends(t, k.agent, s)
	})
}

// TestLifecycleHealthCosts logs what a prober takes, and that only probed sidecars have one.
func TestLifecycleHealthCosts(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-health")
		start(t, tester, probe(t, "t-health"))
		if got := probers(); len(got) > 0 {
			t.Errorf("probers %v of a profile without a probe", got)
		}
		withHealth(t, "probe", `tcp = 1, interval = "1s"`, "no")
		s := start(t, tester, probe(t, "t-health"))
		becomes(t, tester, s.ID, interfaces.HealthUnhealthy)
		for _, pid := range probers() {
			text := readFile(t, "/proc/"+strconv.Itoa(pid)+"/smaps_rollup")
			for line := range strings.Lines(text) {
				for _, field := range []string{"Rss:", "Pss:", "Private_Dirty:"} {
					if strings.HasPrefix(line, field) {
						t.Logf("a prober: %s", strings.Join(strings.Fields(line), " "))
					}
				}
			}
			if got := namespaceOf(t, pid, "net"); got != netnsOf(t, "t-health") {
				t.Errorf("the prober is in %s", got)
			}
			if got := namespaceOf(t, pid, "mnt"); got != namespaceOf(t, 1, "mnt") {
				t.Errorf("the prober has mounts of its own: %s", got)
			}
		}
		ends(t, tester, s)
	})
}
