package service

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

// controlGroups is where the host's control groups are (cgroups(7)).
const controlGroups = "/sys/fs/cgroup"

// HostUsage returns what the control group of a unit uses, nil if the process is not in it.
// The group has all processes of the unit, with the engine's own. Its path follows from the
// payload's: List does not read it from systemd.
func HostUsage(unit string, pid int) *interfaces.Usage {
	group, err := controlGroupOf(pid)
	above, _, found := strings.Cut(group+"/", "/"+unit+"/")
	if err != nil || !found {
		return nil
	}
	return usageOf(controlGroups + above + "/" + unit)
}

// usageOf reads the files of a control group. cpu.stat is always there, the others only with
// their controllers.
func usageOf(group string) *interfaces.Usage {
	stat, _ := os.ReadFile(group + "/cpu.stat")
	_, after, _ := bytes.Cut(append([]byte("\n"), stat...), []byte("\nusage_usec "))
	usec, _, _ := bytes.Cut(after, []byte("\n"))
	memory, _ := os.ReadFile(group + "/memory.current")
	tasks, _ := os.ReadFile(group + "/pids.current")
	return &interfaces.Usage{CPUUSec: number(usec), MemoryBytes: number(memory), Tasks: number(tasks)}
}

// number reads a file of one number; nil if it is not one.
func number(text []byte) *int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}
