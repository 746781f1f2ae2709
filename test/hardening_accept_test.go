//go:build testhost

package test

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHardeningAcceptWithoutEpollWatches has the kernel take no accepted connection into
// the daemon's epoll set (ENOSPC). When it does again, all sockets serve, and the daemon
// has not restarted.
func TestHardeningAcceptWithoutEpollWatches(t *testing.T) {
	begin(t)
	full, restore := withFullEpoll(t)
	sockets := []string{hostSocket, socketOf(tester)}
	full()
	for _, socket := range sockets {
		if err := hungUp(socket); err != nil {
			t.Error(err)
		}
	}
	restore()
	for _, socket := range sockets {
		if _, err := at(t, socket).ListProfiles(minute(t), agentOn(socket)); err != nil {
			t.Errorf("%s when there are watches again: %v", socket, err)
		}
	}
}

// hungUp connects three times and returns an error unless the service hangs up.
func hungUp(path string) error {
	for range 3 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		patience := unix.Timeval{Sec: 60}
		if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
			unix.Connect(fd, &unix.SockaddrUnix{Name: path})); err != nil {
			return err
		}
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("%s: the service accepts, although its epoll set is full", path)
		}
	}
	return nil
}
