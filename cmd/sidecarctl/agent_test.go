package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal (pty(7)).
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return slave
}

func TestAgentNeedsATerminal(t *testing.T) {
	t.Parallel()
	pty := openTerminal(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, c := range map[string]struct {
		terminal terminal
		want     bool
	}{
		"a user":                    {terminal{uid: 1000, input: pty}, true},
		"root":                      {terminal{uid: 0, input: pty}, false},
		"a user without a terminal": {terminal{uid: 1000, input: null}, false},
		"a user without any input":  {terminal{uid: 1000}, false},
	} {
		if got := c.terminal.asks(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// scriptedAgent writes an agent that is a shell script. It has $LOG.
func scriptedAgent(t *testing.T, text string) (terminal, func() string) {
	t.Helper()
	dir := t.TempDir()
	log, program := filepath.Join(dir, "log"), filepath.Join(dir, "agent")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nLOG="+log+"\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return terminal{uid: 1000, program: program}, func() string {
		t.Helper()
		written, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(written)
	}
}

// TestAgentIsThereWhenItSaysSo has an agent that takes a while, and then waits.
func TestAgentIsThereWhenItSaysSo(t *testing.T) {
	t.Parallel()
	terminal, log := scriptedAgent(t, `
trap 'echo ended >>$LOG; exit' TERM
sleep 0.3
echo "$PPID $*" >$LOG
exec 3>&-
while :; do sleep 0.05; done
`)
	for session, want := range map[bool]string{
		true:  fmt.Sprintf("%d --notify-fd 3 --fallback\n", os.Getpid()),
		false: fmt.Sprintf("%d --notify-fd 3\n", os.Getpid()),
	} {
		terminal.session = session
		agent := terminal.startAgent()
		if got := log(); agent == nil || got != want {
			t.Errorf("agent %v, %q, want %q", agent, got, want)
		}
		agent.stop()
		if got := log(); got != want+"ended\n" {
			t.Errorf("it was not told to end: %q", got)
		}
	}
}

// killedParent is a program that starts an agent and is killed.
func killedParent() {
	terminal{program: os.Args[1]}.startAgent()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestAgentEndsWithItsParent(t *testing.T) {
	t.Parallel()
	terminal, log := scriptedAgent(t, `
trap 'echo ended >>$LOG; exit' TERM
echo there >$LOG
exec 3>&-
while :; do sleep 0.05; done
`)
	if err := exec.CommandContext(t.Context(), "killedparent", terminal.program).Run(); err == nil {
		t.Error("it was not killed")
	}
	// The kernel may tell the agent more than once: each thread of the
	// parent that ends hands its children to the next one.
	for end := time.Now().Add(time.Minute); !strings.HasPrefix(log(), "there\nended\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the agent goes on: %q", log())
		}
	}
}

func TestAgentOfASession(t *testing.T) {
	t.Parallel()
	for group, want := range map[string]bool{
		"0::/user.slice/user-1000.slice/session-3.scope\n":                     true,
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n": true,
		"0::/system.slice/cron.service\n":                                      false,
		"0::/\n":                                                               false,
	} {
		file := filepath.Join(t.TempDir(), "cgroup")
		if err := os.WriteFile(file, []byte(group), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := inSession(file); got != want {
			t.Errorf("%q: %v", group, got)
		}
	}
	if inSession(filepath.Join(t.TempDir(), "none")) {
		t.Error("without a control group")
	}
}

func TestAgentThatCannotBe(t *testing.T) {
	t.Parallel()
	if agent := (terminal{program: filepath.Join(t.TempDir(), "none")}).startAgent(); agent != nil {
		t.Error("there is one")
	}
	fails, _ := scriptedAgent(t, "exit 1\n")
	began := time.Now()
	agent := fails.startAgent()
	agent.stop()
	if took := time.Since(began); agent == nil || took > agentTimeout {
		t.Errorf("one that ends at once: %v, after %v", agent, took)
	}
	var none *textAgent
	none.stop()
}
