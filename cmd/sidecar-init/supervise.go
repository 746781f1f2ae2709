package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// supervisor knows the processes. Only [supervise] collects children, so no other process
// can have a number in it by now.
type supervisor struct {
	current  int  // the supervised process: the first one, later the daemon
	first    int  // the process that was started
	orphan   int  // exit status of the last adopted process that failed
	told     bool // it was told to end: no other process takes its place
	status   int  // once current is 0
	announce func(pid int) error
}

// supervise starts a program and returns its exit status or, if it leaves a daemon
// behind, the daemon's. announce gets the daemon's process ID.
func supervise(argv, environment []string, announce func(pid int) error) (int, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals) // before the start, so that no child's end is missed
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: environment, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	s := supervisor{current: pid, first: pid, announce: announce}
	for received := range signals {
		if err := s.pass(received.(syscall.Signal)); err != nil {
			return 0, err
		}
		// After any signal: when the channel is full, SIGCHLD is dropped.
		if err := s.collect(); err != nil || s.current == 0 {
			return s.status, err
		}
	}
	return s.status, nil
}

// pass passes a signal on, except SIGCHLD, which is for the supervisor, and SIGURG,
// which the Go runtime sends itself.
func (s *supervisor) pass(received syscall.Signal) error {
	switch received {
	case unix.SIGCHLD, unix.SIGURG:
		return nil
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
		s.told = true
	}
	err := unix.Kill(s.current, received)
	if err != nil && err != unix.ESRCH {
		return fmt.Errorf("passing on %v: %v", received, err)
	}
	return nil
}

// collect collects all children that have ended, before it looks for a successor.
func (s *supervisor) collect() error {
	var last *unix.WaitStatus // of the supervised process
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD || err == nil && pid == 0:
			if last != nil {
				return s.succeed(*last)
			}
			return nil
		case err != nil:
			return fmt.Errorf("waiting for a process: %v", err)
		case pid == s.current:
			last = &status
		case exitStatus(status) != 0:
			s.orphan = exitStatus(status)
		}
	}
}

// succeed finds the successor of the supervised process. A program that leaves the
// foreground forks, once or twice, and exits with 0; its daemon is our child by now
// (prctl(2), PR_SET_CHILD_SUBREAPER: "reparented"). A daemon that has failed already
// may have been collected before the program that started it.
func (s *supervisor) succeed(status unix.WaitStatus) error {
	ended := s.current
	s.current, s.status = 0, exitStatus(status)
	if s.told || s.status != 0 {
		return nil
	}
	all, err := children("/proc", os.Getpid())
	if err != nil {
		return err
	}
	if len(all) == 0 {
		if ended == s.first {
			s.status = s.orphan
		}
		return nil
	}
	s.current = all[0]
	return s.announce(s.current)
}

func exitStatus(status unix.WaitStatus) int {
	if status.Signaled() { //nolint:misspell // the name is the standard library's
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// children lists the living children of a process, the smallest number first; proc is
// where procfs is mounted.
func children(proc string, parent int) ([]int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(proc + "/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		state, ppid, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("process %d: %v", pid, err)
		}
		if ppid == parent && state != "Z" {
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found, nil
}

// parseStat takes the state and the parent out of /proc/PID/stat. The name may hold
// anything, so its end is the last ')' (proc_pid_stat(5)).
func parseStat(text string) (state string, parent int, err error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("no state and parent in %.100q", text)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}
