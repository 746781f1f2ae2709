package service

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxOpen is how many files a Freezer keeps open; LimitNOFILE= of sidecard.service
	// leaves room for them beside the connections.
	maxOpen = 4096
	// minSweep is how many files are open before a Freezer closes the files of removed groups.
	minSweep = 64
)

// Freezer sees which payloads are frozen, by systemctl freeze or podman pause. List asks it
// about every sidecar, so it keeps the cgroup.events of their control groups (cgroups(7))
// open: opening takes most of the time of a look. An open file does not keep a group from
// being removed, and cannot be read afterwards. The zero value is ready.
type Freezer struct {
	mu    sync.Mutex
	files map[string]int // descriptors, by their units' invocation IDs
	sweep int            // how many files make the next sweep due
}

// Frozen reports whether the control group of a payload, or one above it, is frozen. It
// returns false if that cannot be read.
func (f *Freezer) Frozen(invocation string, pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd, ok := f.files[invocation]
	if !ok {
		group, err := controlGroupOf(pid)
		if err != nil {
			return false
		}
		fd, err = unix.Open("/sys/fs/cgroup"+group+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		f.keep(invocation, fd)
	}
	frozen, err := readFrozen(fd)
	if err != nil {
		f.drop(invocation) // the next look opens it again
	}
	return frozen
}

// readFrozen does without os.File, whose poller takes as long as the read.
func readFrozen(fd int) (bool, error) {
	var text [256]byte
	n, err := unix.Pread(fd, text[:], 0)
	return err == nil && bytes.Contains(text[:n], []byte("frozen 1\n")), err
}

// keep keeps a file. Sidecars end without a call, so it drops the files of removed groups
// whenever twice as many are open as were left the last time. f.mu must be held.
func (f *Freezer) keep(invocation string, fd int) {
	if f.files == nil {
		f.files = map[string]int{}
	}
	if len(f.files) >= min(max(f.sweep, minSweep), maxOpen) {
		for other, fd := range f.files {
			if _, err := readFrozen(fd); err != nil {
				f.drop(other)
			}
		}
		f.sweep = 2 * len(f.files)
	}
	for other := range f.files {
		if len(f.files) < maxOpen {
			break
		}
		f.drop(other)
	}
	f.files[invocation] = fd
}

// drop closes a file. f.mu must be held.
func (f *Freezer) drop(invocation string) {
	_ = unix.Close(f.files[invocation])
	delete(f.files, invocation)
}
