package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// Process is one process of a unit, as /proc/PID/status (proc_pid_status(5))
// shows it.
type Process struct {
	PID    int    // in our pid namespace
	Parent int    // in our pid namespace, 0 when it lies outside
	NSPID  []int  // its number in every namespace from ours inwards; the last one is what it sees itself
	Name   string // as it calls itself, at most 15 bytes
	Deaf   bool   // a SIGTERM sent to it now would be lost
	Busy   bool   // it does not wait for events, as its main loop would
}

// Signals in the masks of proc_pid_status(5).
const (
	sigTERM = 1 << (unix.SIGTERM - 1)
	sigSEGV = 1 << (unix.SIGSEGV - 1)
)

// deaf reports whether SIGTERM is lost on a process with these masks: the first of
// a pid namespace gets only what it has a handler for (pid_namespaces(7)).
func (p Process) deaf(blocked, caught uint64) bool {
	if blocked&sigSEGV != 0 {
		blocked = 0 // the C library blocks all of them for the time of a fork
	}
	return p.nested() && p.own() == 1 && (blocked|caught)&sigTERM == 0
}

// own returns the number that the process knows itself by.
func (p Process) own() int { return p.NSPID[len(p.NSPID)-1] }

// nested reports whether the process has another pid namespace than we.
func (p Process) nested() bool { return len(p.NSPID) > 1 }

// ProcessTable lists the processes of one unit.
type ProcessTable interface {
	Processes() ([]Process, error)
}

// find returns the process that a payload means by number: the one that knows
// itself by it in a pid namespace of its own, or with Host simply that
// process. It must belong to the unit, whatever the payload wrote. The
// outermost namespace is the payload's; two candidates in it are nobody.
func find(table ProcessTable, pidNamespace string, number int) (Process, error) {
	all, err := table.Processes()
	if err != nil {
		return Process{}, err
	}
	var found []Process
	for _, p := range all {
		if p.own() != number || p.nested() != (pidNamespace == document.Private) {
			continue
		}
		if len(found) > 0 && len(p.NSPID) < len(found[0].NSPID) {
			found = nil
		}
		if len(found) == 0 || len(p.NSPID) == len(found[0].NSPID) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Process{}, notYet(fmt.Sprintf("%d is no process of this unit", number))
	case 1:
		return found[0], nil
	}
	return Process{}, notYet(fmt.Sprintf("%d is more than one process of this unit", number))
}

// readProcess reads a process; proc is where procfs is mounted. One that has
// ended is false.
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

// waitsForEvents tells by the kernel's function in which a process sleeps
// (proc_pid_wchan(5)) whether it waits for events, as main loops do, or for what it has
// begun itself. "0" and "" mean that the kernel does not say.
func waitsForEvents(where string) bool {
	if where == "" || where == "0" {
		return true
	}
	return slices.ContainsFunc([]string{
		"poll", "select", // poll(2), select(2), epoll_wait(2)
		"accept", "sigsuspend", "sigtimedwait", "pause", "nanosleep", "futex", "do_wait", "kernel_wait", "_read", "skb_wait_for_more", "wait_woken",
	}, func(name string) bool { return strings.Contains(where, name) })
}

// parseStatus takes Name, State, Pid, PPid, NSpid and the signal masks from the text of
// /proc/PID/status. A name cannot fake a line: the kernel escapes newlines in it.
func parseStatus(status string) (Process, error) {
	var p Process
	blocked, caught := uint64(0), ^uint64(0) // nothing is lost as far as we know
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Name":
			p.Name = value
		case "State": // such as "R (running)", "Z (zombie)"
			p.Busy = !strings.HasPrefix(value, "S")
		case "Pid", "PPid", "NSpid":
			err = p.set(key, strings.Fields(value))
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
	p.Deaf = p.deaf(blocked, caught)
	return p, nil
}

func (p *Process) set(key string, numbers []string) error {
	for _, s := range numbers {
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		switch key {
		case "Pid":
			p.PID = n
		case "PPid":
			p.Parent = n
		case "NSpid":
			p.NSPID = append(p.NSPID, n)
		}
	}
	return nil
}
