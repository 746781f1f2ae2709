//go:build testhost

package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestLifecycleLimitsOfThePayload reads from the kernel what the profile asks for.
func TestLifecycleLimitsOfThePayload(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-limits")
		withPolicy(t, "profiles.d", "probe", profileFiles()["probe"]+"oom-score-adjust = 321\ncpu-max = \"150%\"\n")
		s := start(t, tester, probe(t, "t-limits"))
		pid := *s.Runtime.ProcessID
		if got := strings.TrimSpace(readFile(t, fmt.Sprintf("/proc/%d/oom_score_adj", pid))); got != "321" {
			t.Errorf("oom_score_adj is %s", got)
		}
		if got := show(t, s.Runtime.Unit, "CPUQuotaPerSecUSec"); got != "1.500000s" && got != "1.5s" {
			t.Errorf("CPU quota %s", got)
		}
	})
}

// TestLifecycleLimitsOfFiles is apart: podman 4.3 raises RLIMIT_NPROC, too, when it is given any
// limit.
func TestLifecycleLimitsOfFiles(t *testing.T) {
	bounds, err := strconv.ParseUint(status(t, os.Getpid(), "CapBnd"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(run(t, "podman", "--version"), " 4.3.") && bounds&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		lacking(t, "podman 4.3 needs CAP_SYS_RESOURCE for --ulimit")
	}
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-limits")
		withPolicy(t, "profiles.d", "probe", profileFiles()["probe"]+"files-max = 123\n")
		s := start(t, tester, probe(t, "t-limits"))
		var got string
		for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/limits", *s.Runtime.ProcessID))) {
			if value, ok := strings.CutPrefix(line, "Max open files"); ok {
				got = strings.Join(strings.Fields(value), " ")
			}
		}
		if got != "123 123 files" {
			t.Errorf("open files: %s", got)
		}
	})
}

// withLimits gives the agent of the tests limits until the test ends.
func withLimits(t *testing.T, lines string) {
	t.Helper()
	withPolicy(t, "agents.d", tester, agentFiles[tester]+"[limits]\n"+lines)
}

// TestLifecycleLimitsOfTheAgent: they are on the slice, whether or not it is loaded, from a reload
// on, over a restart of the daemon and a daemon-reload, and go with the key.
func TestLifecycleLimitsOfTheAgent(t *testing.T) {
	begin(t)
	namespace(t, "t-limits")
	const slice = "sidecar-tester.slice"
	wantLimits := func(when string, want ...string) {
		t.Helper()
		eventually(t, 5*time.Second, when+": "+strings.Join(want, " "), func() bool {
			var got []string
			for _, name := range []string{"MemoryMax", "TasksMax", "CPUWeight", "CPUQuotaPerSecUSec"} {
				got = append(got, show(t, slice, name))
			}
			return strings.Join(got, " ") == strings.Join(want, " ")
		})
	}
	const none = "infinity"
	unset := show(t, slice, "CPUWeight") // [not set], or a number of older versions
	t.Run("with limits", func(t *testing.T) {
		withLimits(t, "memory-max = \"1G\"\ntasks-max = 500\ncpu-weight = 50\ncpu-max = \"75%\"\n")
		wantLimits("no sidecar", "1073741824", "500", "50", "750ms")
		s := start(t, tester, probe(t, "t-limits"))
		wantLimits("a sidecar", "1073741824", "500", "50", "750ms")
		run(t, "systemctl", "daemon-reload")
		wantLimits("after a daemon-reload", "1073741824", "500", "50", "750ms")
		if got := show(t, s.Runtime.Unit, "Slice"); got != slice {
			t.Errorf("the unit's slice is %s", got)
		}
		withLimits(t, "tasks-max = 600\n")
		wantLimits("others", none, "600", unset, none)
	})
	wantLimits("none", none, none, unset, none)
}

// TestLifecycleLimitsAgentOutOfMemory: the sidecar's own limit is not the one that it reaches.
func TestLifecycleLimitsAgentOutOfMemory(t *testing.T) {
	controllers(t, "memory") // of the machines that make vm-test boots
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		withPolicy(t, "agents.d", neutron, readFile(t, policyFile("agents.d", neutron))+"[limits]\nmemory-max = \"64M\"\n")
		a := targetOf(t, "dnsmasq")
		s := a.begin(t, "use-memory")
		var r interfaces.Runtime
		eventually(t, 10*time.Second, "it was killed", func() bool {
			listed, err := as(t, a.agent).List(minute(t), interfaces.ListParameters{ID: &s.ID})
			if err != nil || len(listed) != 1 {
				return false
			}
			r = listed[0].Runtime
			return r.Result != nil
		})
		if *r.Result != "oom-kill" || r.MemoryLimit == nil || *r.MemoryLimit != interfaces.MemoryLimitAgent {
			t.Errorf("%+v, want that it was killed at its agent's limit", r)
		}
		if text := run(t, "sidecarctl", "list", "--agent", a.agent); !strings.Contains(text, "out of memory of the agent") {
			t.Errorf("list says %s", text)
		}
	})
}

// TestLifecycleLimitsRestartAfterOutOfMemory: a kill for want of memory is repaired, although it is
// a SIGKILL.
func TestLifecycleLimitsRestartAfterOutOfMemory(t *testing.T) {
	controllers(t, "memory") // of the machines that make vm-test boots
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		a := targetOf(t, "dnsmasq")
		s := a.begin(t, "use-memory")
		eventually(t, 20*time.Second, "it is restarted", func() bool {
			listed, err := as(t, a.agent).List(minute(t), interfaces.ListParameters{ID: &s.ID})
			return err == nil && len(listed) == 1 && listed[0].Runtime.Restarts > 0
		})
	})
}
