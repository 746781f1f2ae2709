// Package sdnotify sends messages to the service manager, as sd_notify(3) does, within a time
// limit: a busy systemd does not read its socket.
//
// Out of scope: what a message says, and waiting until it is read (BARRIER=1).
package sdnotify

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Send sends state, lines of NAME=VALUE, and copies of the descriptors fds to socket, the
// value of NOTIFY_SOCKET: a path, or "@" and an abstract name. It does nothing if socket is
// "". If the manager's queue is full, Send waits at most for limit, and then returns
// unix.ETIMEDOUT.
//
// It does not use package net, whose sockets need epoll watches: the watchdog's message must
// arrive even when root's watches are used up (epoll(7)).
func Send(socket, state string, limit time.Duration, fds ...int) error {
	if socket == "" {
		return nil
	}
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return fmt.Errorf("NOTIFY_SOCKET is not a unix socket: %q", socket)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer unix.Close(fd)
	if err := sendWithin(fd, socket, state, limit, fds); err != nil {
		return fmt.Errorf("notify the service manager at %s: %w", socket, err)
	}
	return nil
}

// sendWithin repeats the call after a signal: SA_RESTART does not apply to a socket with
// SO_SNDTIMEO (signal(7)).
func sendWithin(fd int, socket, state string, limit time.Duration, fds []int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	deadline := time.Now().Add(limit)
	for {
		left := max(time.Until(deadline), time.Microsecond) // 0 would be no limit (socket(7))
		timeout := unix.NsecToTimeval(left.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
			return err
		}
		err := unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: socket}, unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return unix.ETIMEDOUT
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
}
