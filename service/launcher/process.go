package launcher

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// Process is one process of a unit, as /proc/PID/status shows it (proc_pid_status(5)).
type Process struct {
	PID          int    // in our pid namespace
	Parent       int    // in our pid namespace, 0 when it lies outside
	NSPID        []int  // its number in every pid namespace from ours inwards
	Name         string // as the process calls itself, at most 15 bytes
	LosesSIGTERM bool   // a SIGTERM sent to it now would be lost
	Busy         bool   // it does not wait for events, as its main loop would
}

// Signals in the masks of proc_pid_status(5).
const (
	sigTERM = 1 << (unix.SIGTERM - 1)
	sigSEGV = 1 << (unix.SIGSEGV - 1)
)

// losesSIGTERM reports whether a process with these masks loses a SIGTERM: the first process
// of a pid namespace gets only signals that it has a handler for (pid_namespaces(7)).
func (p Process) losesSIGTERM(blocked, caught uint64) bool {
	if blocked&sigSEGV != 0 {
		blocked = 0 // the C library blocks all signals during a fork
	}
	return p.inChildNamespace() && p.innermostPID() == 1 && (blocked|caught)&sigTERM == 0
}

// innermostPID returns the number by which the process knows itself.
func (p Process) innermostPID() int { return p.NSPID[len(p.NSPID)-1] }

// inChildNamespace reports whether the process is in another pid namespace than we are.
func (p Process) inChildNamespace() bool { return len(p.NSPID) > 1 }

// ProcessTable lists the processes of one unit.
type ProcessTable func() ([]Process, error)

// find returns the process of the unit that a payload means by number: the process that
// knows itself by it in a child pid namespace or, with [document.Host], the process of that
// number in ours. The payload's namespace is the outermost; with two matches in it, the payload
// is not ready.
func find(table ProcessTable, pidNamespace string, number int) (Process, error) {
	all, err := table()
	if err != nil {
		return Process{}, err
	}
	var found []Process
	for _, p := range all {
		if p.innermostPID() != number || p.inChildNamespace() != (pidNamespace == document.Private) {
			continue
		}
		switch {
		case len(found) == 0 || len(p.NSPID) < len(found[0].NSPID):
			found = []Process{p}
		case len(p.NSPID) == len(found[0].NSPID):
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Process{}, notReady(fmt.Sprintf("%d is not a process of this unit", number))
	case 1:
		return found[0], nil
	}
	return Process{}, notReady(fmt.Sprintf("%d is more than one process of this unit", number))
}

const (
	// daemonPrefix begins the name of sidecar-init once it knows the daemon, whose number follows.
	daemonPrefix = "daemon "

	// errForeground: two processes may have the payload's command line.
	errForeground = notReady("the program has not left the foreground")
)

// daemon returns the process that sidecar-init, number 1 of the pid namespace, has adopted.
// named is the process that a pid file names, if there is one: it is the daemon once its
// parent is sidecar-init, even if sidecar-init started it itself, because dibbler-client does
// not fork when its parent is number 1.
func daemon(table ProcessTable, named Process) (Process, error) {
	first, err := find(table, document.Private, 1)
	if err != nil {
		return Process{}, err
	}
	if named.PID != 0 {
		named, err = find(table, document.Private, named.innermostPID())
		if err == nil && named.Parent != first.PID {
			err = errForeground
		}
		return named, err
	}
	text, ok := strings.CutPrefix(first.Name, daemonPrefix)
	number, err := strconv.Atoi(text)
	if !ok || err != nil {
		return Process{}, errForeground
	}
	return find(table, document.Private, number)
}

// payload returns the main process of a payload that has no pid file or daemonizes: the
// daemon, or else number 1 of its pid namespace. In the host's pid namespace it is the unit's
// main process if that is alone, else its only child, or else the main process.
func payload(d *document.Document, table ProcessTable, named Process, mainPID int, alone bool) (Process, error) {
	if d.Daemonizes() {
		return daemon(table, named)
	}
	if d.PIDNamespace == document.Private {
		return find(table, document.Private, 1)
	}
	all, err := table()
	if err != nil {
		return Process{}, err
	}
	children := slices.DeleteFunc(slices.Clone(all), func(p Process) bool { return p.Parent != mainPID })
	if len(children) == 1 && !alone {
		return children[0], nil
	}
	i := slices.IndexFunc(all, func(p Process) bool { return p.PID == mainPID })
	if i < 0 {
		return Process{}, notReady("the unit has no main process")
	}
	return all[i], nil
}

// readProcess reads a process; proc is where procfs is mounted. It returns false for a process
// that has ended.
func readProcess(proc string, pid int) (Process, bool, error) {
	status, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		if gone(err) {
			err = nil
		}
		return Process{}, false, err
	}
	p, err := parseStatus(string(status))
	if err != nil {
		return Process{}, false, fmt.Errorf("process %d: %v", pid, err)
	}
	if where, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/wchan"); err == nil && !p.Busy {
		p.Busy = !waitsForEvents(string(where))
	}
	return p, p.PID == pid, nil
}

// waitsForEvents reports whether a process that sleeps in this function of the kernel
// (proc_pid_wchan(5)) waits for events, as main loops do, and not for an operation that it has
// begun. With "0" and "" the kernel does not say.
func waitsForEvents(where string) bool {
	if where == "" || where == "0" {
		return true
	}
	return slices.ContainsFunc([]string{
		"poll", "select", // poll(2), select(2), epoll_wait(2)
		"accept", "sigsuspend", "sigtimedwait", "pause", "nanosleep", "futex", "do_wait", "kernel_wait",
		"_read", "skb_wait_for_more", "wait_woken",
	}, func(name string) bool { return strings.Contains(where, name) })
}

// parseStatus reads the text of /proc/PID/status. A name cannot fake a line: the kernel escapes
// newlines in it.
func parseStatus(status string) (Process, error) {
	var p Process
	blocked, caught := uint64(0), ^uint64(0) // without the masks, no signal counts as lost
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Name":
			p.Name = value
		case "State": // such as "R (running)", "Z (zombie)"
			p.Busy = !strings.HasPrefix(value, "S")
		case "Pid":
			p.PID, err = strconv.Atoi(value)
		case "PPid":
			p.Parent, err = strconv.Atoi(value)
		case "NSpid":
			p.NSPID, err = parsePIDs(value)
		case "SigBlk":
			blocked, err = strconv.ParseUint(value, 16, 64)
		case "SigCgt":
			caught, err = strconv.ParseUint(value, 16, 64)
		}
		if err != nil {
			return Process{}, fmt.Errorf("%s: %v", key, err)
		}
	}
	if p.PID == 0 || len(p.NSPID) == 0 {
		return Process{}, errors.New("no Pid or NSpid in its status")
	}
	p.LosesSIGTERM = p.losesSIGTERM(blocked, caught)
	return p, nil
}

// parsePIDs reads numbers with blanks between them.
func parsePIDs(text string) ([]int, error) {
	var pids []int
	for _, s := range strings.Fields(text) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// ErrMainEnded means that the unit's main process ended before the payload was ready. systemd
// knows its exit status.
var ErrMainEnded = errors.New("the main process ended before it was ready")

// mainProcess watches the unit's main process.
type mainProcess struct{ *os.File } // a pidfd

// watchMain opens the unit's main process. If another process has the number by now, it is
// not of this unit, and the main process has ended.
func watchMain(pid int, table ProcessTable) (*mainProcess, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil, ErrMainEnded
	}
	if err != nil {
		return nil, fmt.Errorf("watching the main process %d: %v", pid, err)
	}
	m := &mainProcess{os.NewFile(uintptr(fd), "pidfd")}
	all, err := table()
	if err == nil && !slices.ContainsFunc(all, func(p Process) bool { return p.PID == pid }) {
		err = ErrMainEnded
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// wait waits for the main process to end, at most for limit. It returns [ErrMainEnded] or nil.
// A pidfd becomes readable when its process ends (pidfd_open(2)).
func (m *mainProcess) wait(limit time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(m.Fd()), Events: unix.POLLIN}}
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

// ended reports whether the process has ended.
func (m *mainProcess) ended() bool { return m.wait(0) != nil }

// endsWithin waits for the process to end, and reports whether it has ended within limit.
func (m *mainProcess) endsWithin(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); { // a signal ends wait early
		if m.wait(time.Until(deadline)) != nil {
			return true
		}
	}
	return false
}

// end ends the main process, and with it the unit's start, by the signals, each when the one
// before has not helped.
func (m *mainProcess) end(signals ...unix.Signal) error {
	for _, signal := range signals {
		err := unix.PidfdSendSignal(int(m.Fd()), signal, nil, 0)
		if err == unix.ESRCH {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ending the main process: %v", err)
		}
		if m.wait(stopGrace) != nil {
			return nil
		}
	}
	return errors.New("the main process does not end")
}
