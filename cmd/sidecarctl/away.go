package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// watchPoll is how often a watch looks whether it is still wanted, in milliseconds.
const watchPoll = 50

// watchEnd watches for the end of a sidecar's process. The function that it returns ends the
// watch and returns when the process ended; the zero time if it has not, or if the process is
// not visible here, as in an agent's pid namespace.
func watchEnd(r *interfaces.Runtime) func() time.Time {
	none := func() time.Time { return time.Time{} }
	if r.ProcessID == nil {
		return none
	}
	fd, err := unix.PidfdOpen(int(*r.ProcessID), 0)
	if err != nil {
		return none
	}
	if !inUnit(*r.ProcessID, r.Unit) {
		_ = unix.Close(fd)
		return none
	}
	stop, ended := make(chan struct{}), make(chan time.Time, 1)
	go func() {
		defer unix.Close(fd)
		for last := false; ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, watchPoll)
			if n > 0 && err == nil { // pidfd_open(2)
				ended <- time.Now()
				return
			}
			if last {
				ended <- time.Time{}
				return
			}
			select {
			case <-stop:
				last = true
			default:
			}
		}
	}()
	return func() time.Time { close(stop); return <-ended }
}

// inUnit reports whether a process is in the control group of a unit (cgroups(7)).
func inUnit(pid int64, unit string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && slices.Contains(strings.FieldsFunc(string(text), func(r rune) bool { return r == '/' || r == '\n' }), unit)
}
