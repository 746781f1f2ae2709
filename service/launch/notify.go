package launch

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/sdnotify"
)

// ErrUnread means that the service manager was sent a state, and has not read it in time.
var ErrUnread = errors.New("the service manager has not read its message in time")

// Notify sends the service manager a new state, lines as in sd_notify(3), and waits until
// the manager has read it: the manager looks up the unit that the sender belongs to, and
// could not if the sender had exited. socket is NOTIFY_SOCKET; Notify does nothing if it
// is "". All of it takes at most limit. The wait is BARRIER=1 of sd_notify(3).
func Notify(socket, state string, limit time.Duration) error {
	if socket == "" {
		return nil
	}
	deadline := time.Now().Add(limit)
	if err := sdnotify.Send(socket, state, limit); err != nil {
		return err
	}
	if err := barrier(socket, deadline); err != nil {
		return fmt.Errorf("%w: %w", ErrUnread, err)
	}
	return nil
}

// NotifyFailure has systemctl status show in which phase a launch failed, and why; the core
// reads it, too.
func NotifyFailure(socket string, phase interfaces.LaunchPhase, reason error) error {
	return Notify(socket, "STATUS="+FormatFailure(phase, reason), time.Second)
}

// barrier sends one end of a pipe and waits until the manager has closed it. The manager
// reads messages in the order in which they were sent.
func barrier(socket string, deadline time.Time) error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = sdnotify.Send(socket, "BARRIER=1", time.Until(deadline), int(theirs.Fd()))
	theirs.Close()
	if err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(ours.Fd())}}
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
