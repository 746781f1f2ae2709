package service

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoProcess means that the process is gone or is not the unit's any more.
var errNoProcess = errors.New("no such process in the unit")

// PIDFDSignaller sends signals through pidfds, so that a process ID that was
// reused meanwhile hits nobody: pidfd_open(2), then the control group is
// compared, then pidfd_send_signal(2). It needs CAP_KILL for payloads that run
// as another user.
type PIDFDSignaller struct{}

// Signal sends the signal to the process if it is in the control group or below
// it.
func (PIDFDSignaller) Signal(pid int, controlGroup, signal string) error {
	number := unix.SignalNum(signal)
	if number == 0 || pid <= 1 || controlGroup == "" {
		return fmt.Errorf("no way to send %q to process %d in %q", signal, pid, controlGroup)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return errNoProcess
	}
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	in, err := inControlGroup(pid, controlGroup)
	if err != nil || !in {
		return errNoProcess
	}
	err = unix.PidfdSendSignal(fd, number, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return errNoProcess
	}
	return err
}

// inControlGroup reports whether the process is in the control group or below it.
func inControlGroup(pid int, controlGroup string) (bool, error) {
	path, err := controlGroupOf(pid)
	return path == controlGroup || strings.HasPrefix(path, controlGroup+"/"), err
}

// controlGroupOf returns the control group of a process: the unified entry "0::PATH" of
// /proc/PID/cgroup (cgroups(7)), "" if there is none.
func controlGroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", nil
}
