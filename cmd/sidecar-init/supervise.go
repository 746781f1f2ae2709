package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// supervisor is what is known of the processes. Only [supervise] collects
// children, so a number that it holds cannot have become another process.
type supervisor struct {
	current  int  // the process that counts: the first one, later the daemon
	first    int  // what was started
	orphan   int  // exit status of the last one that was left to us and failed
	told     bool // it was told to end: when it does, nobody takes its place
	status   int  // once current is 0
	announce func(pid int) error
}

// supervise starts a program and returns its exit status or, if it leaves a
// daemon behind, that of the daemon. announce is told the daemon's process.
func supervise(argv, environment []string, announce func(pid int) error) (int, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals) // before the start: no child's end goes unnoticed
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: environment, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	s := supervisor{current: pid, first: pid, announce: announce}
	for received := range signals {
		if err := s.pass(received.(syscall.Signal)); err != nil {
			return 0, err
		}
		// After any signal: a child's end may have been lost in a crowd of them.
		if err := s.collect(); err != nil || s.current == 0 {
			return s.status, err
		}
	}
	return s.status, nil
}

// pass passes a signal on. SIGCHLD is for us, and SIGURG is what the Go runtime
// sends itself.
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

// collect takes note of all that has ended, and only then of what that means.
func (s *supervisor) collect() error {
	var last *unix.WaitStatus // of the process that counted
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case (err == unix.ECHILD || err == nil && pid == 0) && last != nil:
			return s.succeed(*last)
		case err == unix.ECHILD || err == nil && pid == 0:
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

// succeed finds who takes the place of the process that counted. One that leaves
// the foreground forks, once or twice, and ends with 0. What it has left is our
// child by now (prctl(2), PR_SET_CHILD_SUBREAPER: "reparented"). A daemon that has
// failed already may have been collected before the one that started it.
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
