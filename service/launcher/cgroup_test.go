package launcher

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLaunchFindsTheUnitsControlGroup(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want, wrong string }{
		"direct":      {"0::/sidecar.slice/sidecar-x.service\n", "/sidecar.slice/sidecar-x.service", ""},
		"delegated":   {"0::/sidecar.slice/sidecar-x.service/.control\n", "/sidecar.slice/sidecar-x.service", ""},
		"hybrid":      {"9:name=systemd:/y.service\n8:pids:/\n0::/x.service\n", "/x.service", ""},
		"nested":      {"0::/docker.service/c/system.slice/x.service/.control", "/docker.service/c/system.slice/x.service", ""},
		"no unit":     {"0::/user.slice/session-1.scope\n", "", "not in the control group"},
		"root":        {"0::/\n", "", "not in the control group"},
		"outside":     {"0::/../x.service\n", "", "not in the control group"},
		"version 1":   {"1:name=systemd:/x.service\n", "", "no version 2"},
		"empty":       {"", "", "no version 2"},
		"like a unit": {"0::/x.service.slice\n", "", "not in the control group"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := unitGroup(test.text)
			if got != test.want || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%q, %v, want %q and an error with %q", got, err, test.want, test.wrong)
			}
		})
	}
}

func TestLaunchFindsTheCgroupMount(t *testing.T) {
	t.Parallel()
	const proc = "22 27 0:21 / /proc rw - proc proc rw\n"
	tests := map[string]struct{ mountinfo, want string }{
		"unified": {proc + "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/s.slice/x.service"},
		"hybrid": {
			"31 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"/sys/fs/cgroup/unified/s.slice/x.service",
		},
		"a part of it":      {"31 23 0:28 /s.slice /cg rw - cgroup2 none rw\n", "/cg/x.service"},
		"a blank":           {"31 23 0:28 / /c\\040g rw - cgroup2 none rw\n", "/c g/s.slice/x.service"},
		"another part":      {"31 23 0:28 /s.slice/y /cg rw - cgroup2 none rw\n", ""},
		"no whole part":     {"31 23 0:28 /s.sl /cg rw - cgroup2 none rw\n", ""},
		"none":              {proc, ""},
		"not in mountpoint": {"31 23 0:28 / /a rw - tmpfs cgroup2 rw\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := cgroupDirectory(test.mountinfo, "/s.slice/x.service")
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// fakeProc writes a procfs and a control group with the given processes: group
// to the content of its cgroup.procs, and a status for each.
func fakeProc(t *testing.T, groups map[string]string, processes ...Process) (proc, cgroups string) {
	t.Helper()
	proc, cgroups = t.TempDir(), t.TempDir()
	write := func(name, text string) {
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for group, text := range groups {
		write(filepath.Join(cgroups, group, "cgroup.procs"), text)
	}
	for _, p := range processes {
		pid := strconv.Itoa(p.PID)
		text := "Pid:\t" + pid + "\nPPid:\t" + strconv.Itoa(p.Parent) + "\nNSpid:"
		for _, n := range p.NSPID {
			text += "\t" + strconv.Itoa(n)
		}
		write(filepath.Join(proc, pid, "status"), text+"\n")
	}
	return proc, cgroups
}

func TestLaunchListsTheWholeSubtreeOfTheUnit(t *testing.T) {
	t.Parallel()
	conmon := Process{PID: 1000000, Parent: 1, NSPID: []int{1000000}}
	inside := Process{PID: 1000001, Parent: 1000000, NSPID: []int{1000001, 1}}
	foreign := Process{PID: 1000002, Parent: 1, NSPID: []int{1000002}}
	self := Process{PID: os.Getpid(), Parent: 1, NSPID: []int{os.Getpid()}}
	proc, cgroups := fakeProc(t, map[string]string{
		"s.slice":                         "1000002\n",
		"s.slice/x.service":               "",
		"s.slice/x.service/.control":      strconv.Itoa(os.Getpid()) + "\n",
		"s.slice/x.service/runtime":       "1000000\n0\n",
		"s.slice/x.service/payload/inner": "1000001\n1000003\n",
		"s.slice/y.service":               "1000002\n",
	}, conmon, inside, foreign, self)
	must(t, os.MkdirAll(proc+"/thread-self", 0o755))
	must(t, os.WriteFile(proc+"/thread-self/cgroup", []byte("0::/s.slice/x.service/.control\n"), 0o644))
	must(t, os.WriteFile(proc+"/thread-self/mountinfo", []byte("1 2 0:1 / "+cgroups+" rw - cgroup2 none rw\n"), 0o644))
	table, err := ownCgroup(proc)
	must(t, err)
	got, err := table()
	must(t, err)
	slices.SortFunc(got, func(a, b Process) int { return a.PID - b.PID })
	if diff := cmp.Diff([]Process{conmon, inside}, got); diff != "" {
		t.Error(diff)
	}
}
