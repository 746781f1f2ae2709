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

// inControlGroup reads /proc/PID/cgroup, whose unified entry is "0::PATH"
// (cgroups(7)).
func inControlGroup(pid int, controlGroup string) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if ok {
			return path == controlGroup || strings.HasPrefix(path, controlGroup+"/"), nil
		}
	}
	return false, nil
}
