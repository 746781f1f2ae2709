package main

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// agentTimeout bounds how long the authentication agent may take to register, and to end.
const agentTimeout = 5 * time.Second

// terminal is where a person may authenticate.
type terminal struct {
	uid     int
	input   *os.File
	program string // the agent: pkttyagent(1)
	session bool   // the process is in a session of logind, which may have an agent of its own
}

func newTerminal() terminal {
	return terminal{uid: os.Geteuid(), input: os.Stdin, program: "pkttyagent", session: inSession("/proc/self/cgroup")}
}

// inSession reports whether a process is in a user's session, by its control group
// (proc_pid_cgroup(5), pam_systemd(8)).
func inSession(file string) bool {
	groups, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(groups), "/user.slice/user-")
}

// asks reports whether a person may be asked for a password: not root, and only if the
// standard input is a terminal.
func (t terminal) asks() bool {
	if t.uid == 0 || t.input == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(t.input.Fd()), unix.TCGETS)
	return err == nil
}

// textAgent is a process that asks for passwords on behalf of this one.
type textAgent struct {
	process *os.Process
	ended   chan struct{}
}

// startAgent starts an agent for this process, as systemctl does, and returns when polkit
// knows the agent. In a session it is only used if the session has no agent of its own
// (--fallback); polkit does not ask a fallback agent outside of a session, as after su(1).
// If the agent cannot be started, startAgent returns nil, and polkit refuses.
func (t terminal) startAgent() *textAgent {
	registered, notify, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer registered.Close()
	cmd := exec.Command(t.program, "--notify-fd", "3") // the first of ExtraFiles
	if t.session {
		cmd.Args = append(cmd.Args, "--fallback")
	}
	cmd.ExtraFiles = []*os.File{notify}
	// The agent must not outlive this process and go on asking.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	agent := start(cmd)
	_ = notify.Close()
	if agent == nil {
		return nil
	}
	// The agent closes the descriptor when it is registered, and when it ends.
	_ = registered.SetReadDeadline(time.Now().Add(agentTimeout))
	_, _ = io.Copy(io.Discard, registered)
	return agent
}

// start starts the process from a thread that lives as long as the process: to the kernel
// the end of the thread is the end of the parent (PR_SET_PDEATHSIG in prctl(2)).
func start(cmd *exec.Cmd) *textAgent {
	started := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if <-started != nil {
		return nil
	}
	return &textAgent{cmd.Process, ended}
}

// stop ends the agent, which restores the terminal first.
func (a *textAgent) stop() {
	if a == nil {
		return
	}
	_ = a.process.Signal(syscall.SIGTERM)
	_ = a.process.Signal(syscall.SIGCONT) // a background job that reads the terminal is stopped
	select {
	case <-a.ended:
	case <-time.After(agentTimeout):
		_ = a.process.Kill()
		<-a.ended
	}
}
