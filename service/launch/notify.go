package launch

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Notify tells the service manager a new state, lines as in sd_notify(3), and waits
// until it has taken note. socket is NOTIFY_SOCKET, a path or "@" and an abstract
// name; it does nothing when that is empty. It waits at most for limit. Without the
// wait we could be gone before the manager looks up which unit we belong to; the
// protocol is BARRIER=1 of sd_notify(3).
func Notify(socket, state string, limit time.Duration) error {
	return notify(socket, state, limit, barrier)
}

// tell is Notify without the wait, for a process that stays.
func tell(socket, state string, limit time.Duration) error {
	return notify(socket, state, limit, func(int, unix.Sockaddr, time.Duration) error { return nil })
}

func notify(socket, state string, limit time.Duration, then func(fd int, address unix.Sockaddr, limit time.Duration) error) error {
	if socket == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket: %v", err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(limit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return fmt.Errorf("limiting the wait for the service manager: %v", err)
	}
	address := &unix.SockaddrUnix{Name: socket}
	if err := unix.Sendto(fd, []byte(state), unix.MSG_NOSIGNAL, address); err != nil {
		return fmt.Errorf("telling the service manager: %v", err)
	}
	return then(fd, address, limit)
}

// barrier sends one end of a pipe and waits until the manager has closed it.
func barrier(fd int, address unix.Sockaddr, limit time.Duration) error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(int(theirs.Fd())), address, unix.MSG_NOSIGNAL)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("asking the service manager to answer: %v", err)
	}
	fds := []unix.PollFd{{Fd: int32(ours.Fd())}}
	deadline := time.Now().Add(limit)
	for {
		timeout := unix.NsecToTimespec(max(0, int64(time.Until(deadline))))
		n, err := unix.Ppoll(fds, &timeout, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		if err != nil {
			return fmt.Errorf("waiting for the service manager: %v", err)
		}
		return nil
	}
}
