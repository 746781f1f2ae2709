package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// processTable is a mount of proc(5). Its numbers belong to the pid namespace in
// which it was mounted.
type processTable string

// ownProcesses is the process table of our own container.
const ownProcesses processTable = "/proc"

// process is an entry of a process table.
type process struct {
	directory string // /proc/PID
}

func (t processTable) process(pid int) process {
	return process{filepath.Join(string(t), strconv.Itoa(pid))}
}

// exists reports whether the process exists and has not ended yet.
func (p process) exists() bool {
	fields := p.status()
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// started returns when the process was started, to 10 ms.
func (p process) started() (time.Time, bool) {
	const userHZ = 100 // ticks in a second, the same everywhere
	ticks, err := strconv.ParseInt(p.startTicks(), 10, 64)
	var sinceBoot unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot) != nil {
		return time.Time{}, false
	}
	age := time.Duration(sinceBoot.Nano()) - time.Duration(ticks)*time.Second/userHZ
	return time.Now().Add(-age), true
}

// startTicks returns when the process was started, in clock ticks since boot, and "" if
// it does not exist. Two processes that use one number in turn differ in it.
func (p process) startTicks() string {
	const starttime = 22
	fields := p.status()
	if len(fields) <= starttime-firstField {
		return ""
	}
	return fields[starttime-firstField]
}

// firstField is the number of the first field that status returns: the state.
const firstField = 3

// status returns the fields of /proc/PID/stat after the name, which is in parentheses
// and may hold anything, so that its end is the last ')' (proc_pid_stat(5)).
func (p process) status() []string {
	text, _ := os.ReadFile(filepath.Join(p.directory, "stat"))
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// commandLine returns the arguments of the process, its program's name first.
func (p process) commandLine() []string { return p.words("cmdline") }

// words reads a file of strings that end in NUL each.
func (p process) words(file string) []string {
	text, err := os.ReadFile(filepath.Join(p.directory, file))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00")
}

// runs reports whether the process runs one of these programs, itself or as the script
// of an interpreter.
func (p process) runs(names []string) bool {
	argv := p.commandLine()
	return slices.ContainsFunc(argv[:min(2, len(argv))], func(word string) bool {
		return slices.Contains(names, filepath.Base(word))
	})
}

// sidecar returns the ID of the sidecar whose control group the process is in.
func (p process) sidecar() (string, bool) {
	text, err := os.ReadFile(filepath.Join(p.directory, "cgroup"))
	if err != nil {
		return "", false
	}
	return sidecarIn(string(text))
}

// sidecarIn finds a sidecar's unit in the text of /proc/PID/cgroup, whose lines are
// HIERARCHY:CONTROLLERS:PATH (cgroups(7)). Seen from a container the path begins
// with "..", but the unit's name stays.
func sidecarIn(text string) (string, bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for component := range strings.SplitSeq(fields[2], "/") {
			if id, ok := interfaces.ParseUnit(component); ok {
				return id.String(), true
			}
		}
	}
	return "", false
}

// standIn returns the run of a sidecar that the process stands in for.
func (p process) standIn() (identity, bool) {
	for _, assignment := range p.words("environ") {
		if text, ok := strings.CutPrefix(assignment, standInVariable+"="); ok {
			return parseIdentity(text)
		}
	}
	return identity{}, false
}

// standInsOf returns the process IDs of the stand-ins for this sidecar.
func (t processTable) standInsOf(id string) []int {
	entries, _ := os.ReadDir(string(t))
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if who, ok := t.process(pid).standIn(); ok && who.id == id {
			found = append(found, pid)
		}
	}
	return found
}
