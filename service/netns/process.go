package netns

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OfProcess opens the network namespace of a process. pid is its number in our
// pid namespace and pidfd the same process (SO_PEERCRED and SO_PEERPIDFD of one
// socket): the process is alive before and after the namespace is opened, so
// it was its namespace. It needs CAP_SYS_PTRACE for processes of other users.
//
// A caller that can live with the race may pass one of pidfd_open(2): the answer may
// then be the namespace of a later process with the same number.
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

// checkAlive makes sure that pidfd is the live process pid. A pidfd becomes
// readable when its process ends (pidfd_open(2)); asking with poll needs no
// right to signal it.
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
