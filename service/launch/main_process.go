package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ErrMainEnded means that the unit's main process ended before the payload was
// ready. systemd knows its exit status.
var ErrMainEnded = errors.New("the main process ended before it was ready")

// mainProcess watches the unit's main process.
type mainProcess struct{ pidfd *os.File }

// watchMain opens the process that systemd names in MAINPID. The number may be
// another process by now; one that is not of this unit means that the main
// process has ended.
func watchMain(pid int, table ProcessTable) (*mainProcess, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil, ErrMainEnded
	}
	if err != nil {
		return nil, fmt.Errorf("watching the main process %d: %v", pid, err)
	}
	m := &mainProcess{os.NewFile(uintptr(fd), "pidfd")}
	all, err := table.Processes()
	if err == nil && !slices.ContainsFunc(all, func(p Process) bool { return p.PID == pid }) {
		err = ErrMainEnded
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// wait waits for the main process to end, but no longer than limit. It returns
// [ErrMainEnded] or nil. A pidfd becomes readable when its process ends
// (pidfd_open(2)).
func (m *mainProcess) wait(limit time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(m.pidfd.Fd()), Events: unix.POLLIN}}
	timeout := unix.NsecToTimespec(int64(limit))
	n, err := unix.Ppoll(fds, &timeout, nil)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("watching the main process: %v", err)
	}
	if n > 0 {
		return ErrMainEnded
	}
	return nil
}

// Close ends the watch.
func (m *mainProcess) Close() error { return m.pidfd.Close() }
