package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// agentProgram asks at the terminal for what polkit wants to know: pkttyagent(1).
	agentProgram = "pkttyagent"
	// agentTimeout bounds how long it may take until it is there, and until it is gone.
	agentTimeout = 5 * time.Second
)

// terminal is where a person may be who can authenticate.
type terminal struct {
	uid     int
	input   *os.File
	program string // of the agent
	session bool   // logind knows this process, which may have an agent of its session
}

func newTerminal() terminal {
	return terminal{uid: os.Geteuid(), input: os.Stdin, program: agentProgram, session: inSession("/proc/self/cgroup")}
}

// inSession reports whether a process belongs to a user's session by its control
// group (proc_pid_cgroup(5), and pam_systemd(8) for where sessions are).
func inSession(file string) bool {
	groups, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(groups), "/user.slice/user-")
}

// asks reports whether there may be somebody to ask. Root is never asked. What counts
// is the input: a script whose output is read by a person is not that person.
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

// startAgent starts an agent as systemctl does: for its parent process, and in a
// session only for the case that it has none of its own. Without a session, as after
// su(1), polkit would not ask such an agent at all. It returns when polkit knows of
// it. Without one, nil, polkit says that somebody would have to authenticate.
func (t terminal) startAgent() *textAgent {
	registered, notify, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer registered.Close()
	const descriptor = 3 // the first of ExtraFiles
	cmd := exec.Command(t.program, "--notify-fd", fmt.Sprint(descriptor))
	if t.session {
		cmd.Args = append(cmd.Args, "--fallback")
	}
	cmd.ExtraFiles = []*os.File{notify}
	// If we are killed, it must not stay and go on asking.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	agent := start(cmd)
	_ = notify.Close()
	if agent == nil {
		return nil
	}
	// The agent closes its end when it is registered, or ends.
	_ = registered.SetReadDeadline(time.Now().Add(agentTimeout))
	_, _ = io.Copy(io.Discard, registered)
	return agent
}

// start starts the process from a thread that lives as long as it: the kernel takes
// the thread's end for the parent's (PR_SET_PDEATHSIG in prctl(2)).
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

// stop ends the agent. It puts the terminal in order first, if it was asking.
func (a *textAgent) stop() {
	if a == nil {
		return
	}
	_ = a.process.Signal(syscall.SIGTERM)
	_ = a.process.Signal(syscall.SIGCONT) // it may have been stopped, as a background job is that reads
	select {
	case <-a.ended:
	case <-time.After(agentTimeout):
		_ = a.process.Kill()
		<-a.ended
	}
}
