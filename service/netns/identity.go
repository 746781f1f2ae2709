package netns

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// identity distinguishes one namespace from all others while it exists: the device and
// inode numbers of its file (namespaces(7)).
type identity struct{ device, inode uint64 }

func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, fmt.Errorf("identifying the namespace %s: %v", f.Name(), err)
	}
	return identity{st.Dev, st.Ino}, nil
}

// Same reports whether a and b are files of the same namespace.
func Same(a, b *os.File) (bool, error) {
	first, err := identify(a)
	if err != nil {
		return false, err
	}
	second, err := identify(b)
	return err == nil && first == second, err
}

// IsHost reports whether f is the host's own network namespace. It fails without
// CAP_SYS_PTRACE, which it needs to look at process 1.
func (d Directory) IsHost(f *os.File) (bool, error) {
	if _, err := identify(f); err != nil {
		return false, err // Equal would report false for this error
	}
	host, err := netns.GetFromPath(d.host())
	if err != nil {
		return false, fmt.Errorf("identifying the host's network namespace, %s: %v", d.host(), err)
	}
	defer host.Close()
	return netns.NsHandle(f.Fd()).Equal(host), nil
}

// OfProcess opens the network namespace of a process. pid is its number in this
// process's pid namespace, and pidfd is the same process (SO_PEERCRED and SO_PEERPIDFD
// of one socket). The process is alive before and after the open, so the namespace is
// the process's. It needs CAP_SYS_PTRACE for processes of other users.
//
// With a pidfd of pidfd_open(2) there is a race: the namespace may belong to a later
// process with the same number.
func OfProcess(pid, pidfd int) (*os.File, error) {
	if err := checkAlive(pid, pidfd); err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("the network namespace of process %d: %v", pid, err)
	}
	if err := checkAlive(pid, pidfd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkAlive makes sure that pidfd is the live process pid. A pidfd becomes readable
// when its process ends (pidfd_open(2)); poll needs no permission to signal it.
func checkAlive(pid, pidfd int) error {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return fmt.Errorf("the pidfd of process %d: %v", pid, err)
	}
	if !strings.Contains(string(info), "\nPid:\t"+strconv.Itoa(pid)+"\n") {
		return fmt.Errorf("the pidfd %d is not process %d", pidfd, pid)
	}
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 0)
	}
	if err != nil {
		return fmt.Errorf("the pidfd of process %d: %v", pid, err)
	}
	if n != 0 {
		return fmt.Errorf("process %d has ended", pid)
	}
	return nil
}
