package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ownCgroup returns the processes of our own unit: of its control group and of all groups below
// it, without ourselves. podman moves the processes that it finds in a unit's group, us as well,
// into a group below it. proc is where procfs is mounted.
func ownCgroup(proc string) (ProcessTable, error) {
	directory, err := ownDirectory(proc)
	if err != nil {
		return nil, err
	}
	return func() ([]Process, error) { return processesIn(directory, proc) }, nil
}

// ownDirectory returns the directory of our own unit's control group.
func ownDirectory(proc string) (string, error) {
	text, err := os.ReadFile(proc + "/thread-self/cgroup")
	if err != nil {
		return "", err
	}
	group, err := unitGroup(string(text))
	if err != nil {
		return "", err
	}
	// Of the thread, whose mounts may be fewer (withOwnMounts).
	text, err = os.ReadFile(proc + "/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	return cgroupDirectory(string(text), group)
}

// unitGroup returns the control group of the service in the text of /proc/self/cgroup
// (cgroups(7)): the path of hierarchy 0 up to the last component that is a service.
func unitGroup(text string) (string, error) {
	for line := range strings.Lines(text) {
		group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/")
		if !ok {
			continue
		}
		parts := strings.Split(group, "/")
		for len(parts) > 0 && !strings.HasSuffix(parts[len(parts)-1], ".service") {
			parts = parts[:len(parts)-1]
		}
		if len(parts) == 0 || slices.Contains(parts, "..") {
			return "", fmt.Errorf("not in the control group of a service but in %q", "/"+group)
		}
		return "/" + strings.Join(parts, "/"), nil
	}
	return "", errors.New("this host has no version 2 control groups")
}

// cgroupDirectory finds the directory of group in the text of /proc/self/mountinfo
// (proc_pid_mountinfo(5)). The file system may be mounted anywhere (hybrid hosts), or only a
// part of it.
func cgroupDirectory(mountinfo, group string) (string, error) {
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(fields[3], "/")+"/")
		if ok {
			return path.Join(unescape.Replace(fields[4]), below), nil
		}
	}
	return "", fmt.Errorf("control group %q is not visible in any cgroup2 mount", group)
}

// unescape replaces what mountinfo writes for blanks and backslashes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// processesIn lists the processes of a control group, without those that end meanwhile.
func processesIn(directory, proc string) ([]Process, error) {
	pids, err := groupPIDs(directory)
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, pid := range pids {
		if pid == 0 || pid == os.Getpid() { // 0 is a process that our pid namespace cannot see
			continue
		}
		p, ok, err := readProcess(proc, pid)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// groupPIDs reads cgroup.procs of directory and of every directory below it.
func groupPIDs(directory string) ([]int, error) {
	var text []byte // of all files; each of their lines ends with a newline
	err := fs.WalkDir(os.DirFS(directory), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			var found []byte
			found, err = os.ReadFile(path.Join(directory, name, "cgroup.procs"))
			if err == nil { // else it may end within a number
				text = append(text, found...)
			}
		}
		if gone(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return parsePIDs(string(text))
}

// gone reports whether err only says that a process has ended or a control group was removed,
// or that a group has threads instead of processes (EOPNOTSUPP).
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP)
}
