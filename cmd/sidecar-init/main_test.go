package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const asProgram = "INIT_TEST_AS_PROGRAM"

// TestMain lets the test binary stand for the program, as the first process of a
// pid namespace with a procfs of its own.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	_ = os.Unsetenv(asProgram)
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
	); err != nil {
		panic(err)
	}
	main()
}

// container returns the program with a command, ready to be started in a pid
// namespace of its own. It ends with the test at the latest.
func container(t *testing.T, command string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a pid namespace")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{asProgram + "=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "KEPT=yes", commandVariable + "=" + command}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// shell is the command that runs a script.
func shell(t *testing.T, script string) string {
	t.Helper()
	text, err := json.Marshal([]string{"/bin/sh", "-c", script, "payload", "", "a b"})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// outcome runs a command to its end.
func outcome(t *testing.T, command string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := container(t, command)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestLaunchInitEndsAsTheDaemonDoes: "( … ) &" is the daemon, what follows is
// the program that leaves the foreground.
func TestLaunchInitEndsAsTheDaemonDoes(t *testing.T) {
	t.Parallel()
	const die = "sh -c 'kill -KILL $$'"
	for name, test := range map[string]struct {
		script string
		want   int
	}{
		"never leaves the foreground":        {"exit 0", 0},
		"fails before it does":               {"sleep 60 & exit 7", 7},
		"is killed before it does":           {"sleep 60 & kill -KILL $$", 137},
		"daemon ends well":                   {"( sleep 0.1 ) & exit 0", 0},
		"daemon fails":                       {"( sleep 0.1; exit 5 ) & exit 0", 5},
		"daemon fails at once":               {"( exit 5 ) & exec sleep 0.1", 5},
		"daemon is killed":                   {"( sleep 0.1; exec " + die + " ) & exit 0", 137},
		"forks twice":                        {"( ( sleep 0.2; exit 9 ) & exit 0 ) & exit 0", 9},
		"forks twice, slowly":                {"( ( sleep 0.3; exit 9 ) & sleep 0.1; exit 0 ) & exit 0", 9},
		"daemon fails while others run":      {"( sleep 60 & sleep 0.1; exit 4 ) & exit 0", 4},
		"daemon ends when another has ended": {"( ( sleep 0.05 & ) ; sleep 0.2; exit 3 ) & exit 0", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			out, errs, status := outcome(t, shell(t, test.script))
			if status != test.want || out+errs != "" {
				t.Errorf("status %d, output %q %q, want %d", status, out, errs, test.want)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestLaunchInitPassesTheCommandOnAndNothingOfOurs(t *testing.T) {
	t.Parallel()
	out, errs, status := outcome(t, shell(t, `echo "$0|$1|$2|$#"; env; tr '\0' ' ' </proc/1/cmdline`))
	if status != 0 || errs != "" || !strings.HasPrefix(out, "payload||a b|2\n") || !strings.Contains(out, "KEPT=yes\n") {
		t.Errorf("status %d, output %q %q", status, out, errs)
	}
	if strings.Contains(out, commandVariable) || strings.Contains(out, "payload ") {
		t.Errorf("our variable or a second command line shows: %q", out)
	}
}

// TestLaunchInitPassesSignalsOn to the program while it starts and then to the
// daemon, and tells the host which process that is.
func TestLaunchInitPassesSignalsOn(t *testing.T) {
	t.Parallel()
	const script = `
		wait_for() { while :; do sleep 0.01; done; }
		trap 'trap - HUP; (
			for s in HUP USR1 WINCH CONT; do trap "echo $s" $s; done
			trap "echo TERM; sleep 60 & exit 6" TERM
			until [ "$(cat /proc/1/comm)" = "daemon $(sh -c '\''echo $PPID'\'')" ]; do sleep 0.01; done
			echo daemon; wait_for
		) & exit 0' HUP
		echo started; wait_for`
	cmd := container(t, shell(t, script))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for _, step := range []struct {
		want string
		send syscall.Signal
	}{
		{"started", unix.SIGHUP},
		{"daemon", unix.SIGHUP},
		{"HUP", unix.SIGUSR1},
		{"USR1", unix.SIGWINCH},
		{"WINCH", unix.SIGCONT},
		{"CONT", unix.SIGTERM},
		{"TERM", unix.SIGCONT},
	} {
		line, err := lines.ReadString('\n')
		if err != nil || line != step.want+"\n" {
			t.Fatalf("%q, %v, want %s", line, err, step.want)
		}
		_ = cmd.Process.Signal(step.send) // it may have ended after TERM
	}
	_, _ = io.Copy(io.Discard, lines)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 6 {
		t.Errorf("%v, want status 6", err)
	}
}

// TestLaunchInitEndsWhenItWasToldTo, and not when what its daemon left behind does.
func TestLaunchInitEndsWhenItWasToldTo(t *testing.T) {
	t.Parallel()
	cmd := container(t, shell(t, `( trap "exit 0" TERM; sleep 60 & echo up; wait ) & exit 0`))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	time.Sleep(100 * time.Millisecond) // until it is adopted
	began := time.Now()
	_ = cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %v, want status 0 at once", err, time.Since(began))
	}
}

func TestLaunchInitSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"":                   commandVariable,
		"[]":                 "absolute path",
		`["sh"]`:             "absolute path",
		`["/nonexistent"]`:   "starting /nonexistent: no such file",
		`["/bin/true"] more`: commandVariable,
	} {
		out, errs, status := outcome(t, command)
		if status != exitFailure || out != "" || !strings.HasPrefix(errs, "sidecar-init: ") || !strings.Contains(errs, want) {
			t.Errorf("%q: status %d, %q %q, want %q", command, status, out, errs, want)
		}
	}
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "first process") {
		t.Errorf("not as the first process: %v", err)
	}
}

func TestLaunchInitReadsProcStat(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		state  string
		parent int
		ok     bool
	}{
		"7 (sh) S 1 7 7 0":         {"S", 1, true},
		"7 (a) R 9) b) Z 42 7 7 0": {"Z", 42, true},
		"7 (sh) S x":               {"S", 0, false},
		"7 (sh) S":                 {"", 0, false},
		"":                         {"", 0, false},
	} {
		state, parent, err := parseStat(text)
		if state != want.state || parent != want.parent || (err == nil) != want.ok {
			t.Errorf("%q: %q, %d, %v", text, state, parent, err)
		}
	}
}
