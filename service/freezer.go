package service

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"
)

// maxGroups is how many control groups a Freezer remembers.
const maxGroups = 8192

// Freezer sees which payloads are frozen, by systemctl freeze or podman pause. List asks it
// about every sidecar, so it remembers their control groups, and reads without what os.File
// adds (the poller), which takes twice as long.
type Freezer struct {
	mu     sync.Mutex
	groups map[string]string // control groups of payloads, by their units' invocation IDs
}

// Frozen reports whether the control group of a payload is frozen, or one that it lies in
// (cgroup.events of cgroups(7)). It is not if that cannot be seen.
func (f *Freezer) Frozen(invocation string, pid int) bool {
	group := f.group(invocation, pid)
	if group == "" {
		return false
	}
	fd, err := unix.Open("/sys/fs/cgroup"+group+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var text [256]byte
	n, err := unix.Read(fd, text[:])
	return err == nil && bytes.Contains(text[:n], []byte("frozen 1\n"))
}

func (f *Freezer) group(invocation string, pid int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	group, ok := f.groups[invocation]
	if !ok {
		group, _ = controlGroupOf(pid)
		if f.groups == nil || len(f.groups) >= maxGroups {
			f.groups = map[string]string{}
		}
		f.groups[invocation] = group
	}
	return group
}
