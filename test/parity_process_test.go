//go:build testhost

package test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// propertiesWith launches with a text of the profile's file, and stops the sidecar again.
func (k kind) propertiesWith(t *testing.T, text string) observed {
	t.Helper()
	withPolicy(t, "profiles.d", k.profile, text)
	// An engine may change settings of the network namespace, and they stay.
	run(t, "ip", "netns", "exec", k.namespace, "sh", "-c", "echo 1 0 >/proc/sys/net/ipv4/ping_group_range")
	s := k.launch(t)
	defer k.stops(t, s)
	// A program goes on with its own start when it is ready.
	p := k.properties(t, s)
	for range slowness {
		time.Sleep(200 * time.Millisecond)
		before := p
		if p = k.properties(t, s); cmp.Equal(before, p) {
			return p
		}
	}
	t.Fatalf("%s does not stay as it is (-before +after):\n%s", s.ID, cmp.Diff(p, k.properties(t, s)))
	return nil
}

// properties looks at a sidecar.
func (k kind) properties(t *testing.T, s *interfaces.Sidecar) observed {
	t.Helper()
	v := view{observed: observed{}, unit: s.Runtime.Unit, main: int(*s.Runtime.ProcessID)}
	v.group = show(t, v.unit, "ControlGroup")
	// It is of podman alone.
	if id, err := output("podman", "inspect", "--format={{.Id}}", strings.TrimSuffix(v.unit, ".service")); err == nil {
		v.names = strings.NewReplacer(id, "CONTAINER", id[:12], "CONTAINER")
	}
	pids := inSameNamespace(t, v.main)
	for i, pid := range pids {
		v.suffix = fmt.Sprintf(" of process %d", i+1)
		v.status(t, pid)
		v.namespaces(t, pid, netnsOf(t, k.namespace))
		v.files(t, pid)
		v.descriptors(t, pid, netnsOf(t, k.namespace))
	}
	v.suffix = ""
	v.container(t, pids)
	return v.observed
}

// view collects the properties of one sidecar.
type view struct {
	observed
	suffix      string // of the names of properties
	unit, group string
	main        int
	names       *strings.Replacer // of names that are the container's only; nil: of none
}

func (v view) set(name, value string) {
	if v.names != nil {
		name, value = v.names.Replace(name), v.names.Replace(value)
	}
	v.observed[name+v.suffix] = strings.ReplaceAll(value, v.group, "UNIT")
}

// inSameNamespace returns the processes of a process's pid namespace, oldest first.
func inSameNamespace(t *testing.T, pid int) []int {
	t.Helper()
	numbers := map[int]int{} // on the host, by those inside
	entries, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, entry := range entries {
		if link, err := os.Readlink(entry); err != nil || link != namespaceOf(t, pid, "pid") {
			continue
		}
		found, _ := strconv.Atoi(strings.Split(entry, "/")[2])
		inside := strings.Fields(status(t, found, "NSpid"))
		number, _ := strconv.Atoi(inside[len(inside)-1])
		numbers[number] = found
	}
	var pids []int
	for _, number := range slices.Sorted(maps.Keys(numbers)) {
		pids = append(pids, numbers[number])
	}
	return pids
}

// statusFields are the fields of proc_pid_status(5) that an engine decides.
var statusFields = []string{
	"Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
	"SigBlk", "SigIgn", "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed", "Mems_allowed",
}

func (v view) status(t *testing.T, pid int) {
	t.Helper()
	for _, field := range statusFields {
		v.set(field, status(t, pid, field))
	}
	own := strings.Fields(status(t, pid, "NSpid"))
	v.set("pid namespaces", strconv.Itoa(len(own)))
	for _, field := range []string{"NSpgid", "NSsid"} { // of its group, of its session
		leader := strings.Fields(status(t, pid, field))
		switch number := leader[len(leader)-1]; number {
		case own[len(own)-1]:
			v.set(field, "itself")
		case "0", "1": // a process of the host, the first process
			v.set(field, number)
		default:
			v.set(field, "another")
		}
	}
	text := readFile(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(text[strings.LastIndex(text, ")")+2:]) // the first is the third of proc_pid_stat(5)
	for name, number := range map[string]int{"terminal": 7, "nice": 19, "real-time priority": 40, "scheduling policy": 41} {
		v.set(name, fields[number-3])
	}
}

func (v view) namespaces(t *testing.T, pid int, named string) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/ns", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		whose := "its own"
		switch namespaceOf(t, pid, entry.Name()) {
		case named:
			whose = "the named one"
		case namespaceOf(t, os.Getpid(), entry.Name()):
			whose = "the host's"
		}
		v.set("namespace "+entry.Name(), whose)
	}
}

// changes is what changes in haproxy's HAPROXY_PROCESSES.
var changes = regexp.MustCompile(`(timestamp|pid)=\d+`)

// files reads what /proc/PID has in files of its own.
func (v view) files(t *testing.T, pid int) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	for _, name := range []string{"uid_map", "gid_map", "setgroups", "oom_score_adj", "personality", "coredump_filter", "cgroup", "loginuid", "attr/current"} {
		text, err := os.ReadFile(proc + name)
		if err != nil {
			text = []byte(errorName(err))
		}
		v.set(name, strings.Join(strings.Fields(string(text)), " "))
	}
	for _, name := range []string{"cwd", "exe", "root"} {
		target, err := os.Readlink(proc + name)
		if err != nil {
			t.Fatal(err)
		}
		v.set(name, target)
	}
	argv, err := cmdline(pid)
	if err != nil {
		t.Fatal(err)
	}
	v.set("command line", fmt.Sprintf("%q", argv))
	for name, value := range environ(t, pid) {
		v.set("env "+name, changes.ReplaceAllString(value, "$1=NEW"))
	}
	for line := range strings.Lines(readFile(t, proc+"limits")) {
		if strings.HasPrefix(line, "Max ") {
			v.set("limit "+strings.TrimSpace(line[:26]), strings.Join(strings.Fields(line[26:]), " "))
		}
	}
}

// descriptors tells what standard input, output and error are, and how many of each
// kind there are besides.
func (v view) descriptors(t *testing.T, pid int, named string) {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]int{}
	for _, entry := range entries {
		number, _ := strconv.Atoi(entry.Name())
		what := describe(t, pid, pidfd, number, named)
		if number > 2 {
			others[what]++
			continue
		}
		flags, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, number))
		_, after, _ := strings.Cut(string(flags), "flags:\t")
		v.set("fd "+entry.Name(), what+" "+strings.SplitN(after, "\n", 2)[0])
	}
	for what, count := range others {
		v.set("fds "+what, strconv.Itoa(count))
	}
}

// describe says what a descriptor of another process is.
func describe(t *testing.T, pid, pidfd, number int, named string) string {
	t.Helper()
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, number))
	if err != nil {
		return "closed"
	}
	kind, _, _ := strings.Cut(target, ":[")
	if kind != "socket" {
		return kind
	}
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return "closed"
	}
	defer unix.Close(fd)
	domain, domainErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	socketType, typeErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if domainErr != nil || typeErr != nil {
		t.Fatal(domainErr, typeErr)
	}
	where := "another namespace"
	if namespaceOfSocket(t, pid, strconv.Itoa(number)) == named {
		where = "the named namespace"
	}
	return fmt.Sprintf("socket of family %d and type %d in %s", domain, socketType, where)
}
