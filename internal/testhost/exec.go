package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// killDelay is what a cancelled command gets between SIGTERM and SIGKILL.
const killDelay = 5 * time.Second

// endDelay is what nspawn gets to notice that its host has ended.
const endDelay = 3 * time.Second

// innerPath is the PATH of a command in the host.
const innerPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command is a program to run in the host, as its root.
type Command struct {
	// Args is the program, looked for in the host's PATH, and its arguments.
	Args []string
	// Env holds KEY=VALUE pairs beyond PATH, HOME, LANG and TERM.
	Env []string
	// Dir is the working directory in the host. Default: /root.
	Dir string
	// Stdin, Stdout and Stderr are as in os/exec: nil means /dev/null, and a
	// file is handed over as it is.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal keeps the command in our own process group, so that it may
	// read from the terminal and gets its ctrl-c.
	Terminal bool
}

// Run runs a command in a scope of its own of the host's systemd, and returns
// its exit code: 128 plus the number if a signal ended it. When ctx ends, the
// scope is stopped and the error is ctx's. Processes that the command
// leaves behind go on until the host ends. A host that ended meanwhile is an error
// with the last lines of its console.
func (h *Host) Run(ctx context.Context, command Command) (int, error) {
	if len(command.Args) == 0 {
		return 0, errors.New("no command")
	}
	scope := fmt.Sprintf("testhost-run-%d.scope", h.commands.Add(1))
	cmd, done, err := h.enter(ctx, scopeArgs(scope, command))
	if err != nil {
		return 0, err
	}
	defer done()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = command.Stdin, command.Stdout, command.Stderr
	cmd.SysProcAttr.Setpgid = !command.Terminal
	cmd.Cancel = func() error { return h.stopScope(scope) }
	cmd.WaitDelay = 2 * killDelay
	err = cmd.Run()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("%s: %w", command.Args[0], context.Cause(ctx))
	}
	code, err := exitCode(cmd.ProcessState, err)
	if code == 128+int(syscall.SIGKILL) && h.ends() {
		return 0, fmt.Errorf("%s: the host has ended by itself; %s", command.Args[0], h.run.consoleTail())
	}
	return code, err
}

// ends reports whether the host is ending. When its init ends, the kernel kills all of
// its processes (pid_namespaces(7)); our command can end a little before the init does.
func (h *Host) ends() bool {
	select {
	case <-h.nspawn.done:
		return true
	case <-time.After(endDelay):
		return false
	}
}

// scopeArgs returns the command line, inside the host, that moves itself into
// a new scope and becomes the program. A service (systemd-run --wait) would
// hang on a D-Bus connection while the program runs, and fail when a test
// restarts the bus.
func scopeArgs(scope string, command Command) []string {
	argv := []string{
		"systemd-run", "--quiet", "--scope", "--collect", "--unit=" + scope,
		"--description=" + command.Args[0],
		"--property=TimeoutStopSec=" + killDelay.String(), "--",
		"env", "--ignore-environment", "--chdir=" + firstOf(command.Dir, "/root"),
		innerPath, "HOME=/root", "LANG=C.UTF-8", "TERM=" + firstOf(os.Getenv("TERM"), "dumb"),
	}
	argv = append(argv, command.Env...)
	return append(argv, command.Args...)
}

// enter returns a command that enters the host's namespaces. It starts in the
// cgroup of the host's init: with the mount option nsdelegate, the kernel
// lets the host's systemd move only processes that are in its own part of the
// tree (cgroups(7)). done releases what the command holds.
func (h *Host) enter(ctx context.Context, argv []string) (cmd *exec.Cmd, done func(), err error) {
	leader := strconv.Itoa(h.leader)
	path, err := cgroupOf(leader)
	if err != nil {
		return nil, nil, fmt.Errorf("the host is gone: %w", err)
	}
	cgroup, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	nsenter := []string{"--target=" + leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	cmd = exec.CommandContext(ctx, "nsenter", append(nsenter, argv...)...)
	cmd.Env = []string{innerPath}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	return cmd, func() { _ = cgroup.Close() }, nil
}

// stopScope ends a command whose caller has given up: SIGTERM, then SIGKILL.
func (h *Host) stopScope(scope string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*killDelay)
	defer cancel()
	cmd, done, err := h.enter(ctx, []string{"systemctl", "stop", scope})
	if err != nil {
		return err
	}
	defer done()
	return cmd.Run()
}

// exitCode returns the code of an ended command. nsenter passes on exit codes
// and dies of the signal that its child died of (nsenter(1)).
func exitCode(state *os.ProcessState, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	code := state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && code < 0 {
		code = 128 + int(status.Signal())
	}
	return code, nil
}
