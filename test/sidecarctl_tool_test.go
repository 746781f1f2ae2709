//go:build testhost

package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// Exit codes of sidecarctl(1) that tests look at.
const (
	toolDone    = 0
	toolRefused = 3
	toolGone    = 4
	toolAway    = 6
)

// toolRun is what a run of sidecarctl ended with.
type toolRun struct {
	code           int
	stdout, stderr string
}

func (r toolRun) String() string {
	return fmt.Sprintf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
}

// sidecarctlAs is the command of a user that runs sidecarctl.
func sidecarctlAs(t *testing.T, uid uint32, arguments ...string) *exec.Cmd {
	t.Helper()
	argv := append([]string{"sidecarctl"}, arguments...)
	if uid != 0 {
		addUsers(t)
		id := strconv.FormatUint(uint64(uid), 10)
		argv = append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--init-groups"}, argv...)
	}
	return exec.CommandContext(minute(t), argv[0], argv[1:]...)
}

// sidecarctl runs it to its end, without a terminal.
func sidecarctl(t *testing.T, uid uint32, arguments ...string) toolRun {
	t.Helper()
	cmd := sidecarctlAs(t, uid, arguments...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return toolRun{exitCode(t, cmd.Run()), stdout.String(), stderr.String()}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// launchWords are the command line of a launch for the tests' agent.
func launchWords(command string, p interfaces.LaunchParameters) []string {
	return append([]string{command, p.Profile, "--agent", tester, "--netns", *p.NetworkNamespace, "--"}, p.Arguments...)
}

// seat is a terminal at which a user runs sidecarctl, and somebody sits: the test.
type seat struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	shown  chan string
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// sitDown starts sidecarctl with a controlling terminal (pty(7), TIOCSCTTY in
// ioctl_tty(2)). Its output goes elsewhere, as in a pipeline.
func sitDown(t *testing.T, uid uint32, arguments ...string) *seat {
	t.Helper()
	master, slave := openTerminal(t)
	s := &seat{t: t, cmd: sidecarctlAs(t, uid, arguments...), master: master, shown: make(chan string, 1000)}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, &s.stdout, &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	go func() {
		defer close(s.shown)
		text := make([]byte, 4096)
		for {
			n, err := master.Read(text)
			if err != nil {
				return // EIO when nobody has the terminal open any more
			}
			s.shown <- string(text[:n])
		}
	}()
	return s
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { master.Close() })
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// reads waits until the terminal shows a text, and returns all up to then.
func (s *seat) reads(text string) string {
	s.t.Helper()
	all := ""
	for end := time.After(slowness * 5 * time.Second); !strings.Contains(all, text); {
		select {
		case more, ok := <-s.shown:
			if all += more; !ok {
				s.t.Fatalf("the terminal showed %q, want %q; %v", all, text, s.leaves())
			}
		case <-end:
			s.t.Fatalf("the terminal shows %q, want %q", all, text)
		}
	}
	return all
}

// types types a password that is asked for.
func (s *seat) types(password string) {
	s.t.Helper()
	s.silent()
	if _, err := io.WriteString(s.master, password+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// silent waits until what is typed is not shown: pkttyagent sees to that after the
// question, and forgets what was typed before.
func (s *seat) silent() {
	s.t.Helper()
	eventually(s.t, 5*time.Second, "the echo is off", func() bool { return !s.echoes() })
}

func (s *seat) echoes() bool {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.master.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// leaves waits until sidecarctl has ended.
func (s *seat) leaves() toolRun {
	s.t.Helper()
	code := exitCode(s.t, s.cmd.Wait())
	return toolRun{code, s.stdout.String(), s.stderr.String()}
}
