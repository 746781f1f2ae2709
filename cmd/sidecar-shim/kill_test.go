package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// victim is a process of ours that stands for one of a sidecar. Its control group
// and the rest are made up.
type victim struct {
	killer
	pid   int
	ended chan error
}

// newVictim starts one, whose table entry has these files.
func newVictim(t *testing.T, answer func(string) string, files ...string) (*victim, *fakeService) {
	t.Helper()
	f := serveFake(t, answer)
	cmd := exec.CommandContext(t.Context(), "/bin/sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &victim{pid: cmd.Process.Pid, ended: make(chan error, 1)}
	go func() { v.ended <- cmd.Wait() }()
	v.processes = table(t)
	v.processes.add(t, strconv.Itoa(v.pid), append([]string{"stat", "7 (x) S 1", "cgroup", "0::/\n", "cmdline", "x\x00"}, files...)...)
	v.targets = []string{"conntrackd", "keepalived"}
	v.connect = func() (service, error) {
		c, err := client.New(f.path)
		return c, err
	}
	return v, f
}

// endedBy waits for the signal that ends the victim.
func (v *victim) endedBy(t *testing.T) syscall.Signal {
	t.Helper()
	select {
	case err := <-v.ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("it ended with %v", err)
		}
		status, _ := exit.Sys().(syscall.WaitStatus)
		return status.Signal()
	case <-time.After(time.Minute):
		t.Fatal("it has not ended")
	}
	return 0
}

func (v *victim) lives() bool {
	time.Sleep(50 * time.Millisecond)
	select {
	case <-v.ended:
		return false
	default:
		return true
	}
}

const testGroup = "0::/../sidecar-" + testID + ".service/libpod-payload-1\n"

func TestShimKillOfASidecarGoesThroughTheService(t *testing.T) {
	t.Parallel()
	for _, signal := range []string{"SIGHUP", "SIGTERM", "SIGKILL"} {
		v, f := newVictim(t, by(map[string]string{"Signal": empty}), "cgroup", testGroup)
		if err := v.kill(t.Context(), signal, v.pid); err != nil {
			t.Error(err)
		}
		if want := fmt.Sprintf(`Signal {"id":%q,"signal":%q}`, testID, signal); f.asked(want) != 1 || f.asked("") != 1 {
			t.Errorf("%s: the service was asked %q", signal, f.calls)
		}
		if !v.lives() {
			t.Errorf("%s: it was sent directly too", signal)
		}
	}
}

func TestShimKillOfASidecarThatIsGoneOrForeignIsNoSuchProcess(t *testing.T) {
	t.Parallel()
	v, _ := newVictim(t, by(map[string]string{"Signal": gone, "List": gone}), "cgroup", testGroup)
	err := v.kill(t.Context(), "SIGKILL", v.pid)
	if err == nil || !strings.Contains(err.Error(), "another agent's sidecar or is ending): No such process") || !v.lives() {
		t.Errorf("foreign: %v", err)
	}
	v.processes.add(t, strconv.Itoa(v.pid), "stat", "7 (x) Z 1")
	if err := v.kill(t.Context(), "SIGKILL", v.pid); err == nil || err.Error() != fmt.Sprintf("process %d: No such process", v.pid) {
		t.Errorf("ended: %v", err)
	}
}

// The pid file is right a moment before the service knows the process.
func TestShimKillOfASidecarThatIsStarting(t *testing.T) {
	t.Parallel()
	starting := `{"parameters": {"sidecar": ` + sidecarIs(testID, "starting", "i1") + `}}`
	signals := 0
	v, f := newVictim(t, func(call string) string {
		if strings.HasPrefix(call, "List") {
			return starting
		}
		if signals++; signals < 3 {
			return gone
		}
		return empty
	}, "cgroup", testGroup)
	if err := v.kill(t.Context(), "SIGHUP", v.pid); err != nil || f.asked("Signal") != 3 || !v.lives() {
		t.Errorf("%v, asked %q", err, f.calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func(call string) string {
		if strings.HasPrefix(call, "List") {
			cancel() // the time is over
			return starting
		}
		return gone
	})
	err := v.kill(ctx, "SIGHUP", v.pid)
	if err == nil || errors.Is(err, errNoProcess) || !strings.Contains(err.Error(), "is still starting") || !v.lives() {
		t.Errorf("one that does not become ready: %v", err)
	}
}

// A stop must not wait for an upgrade of the service.
func TestShimKillWithoutTheServiceIsSentDirectly(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(string) string{
		"hung up": func(string) string { return "" },
		"mute":    func(string) string { select {} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := newVictim(t, answer, "cgroup", testGroup)
			began := time.Now()
			if err := v.kill(t.Context(), "SIGTERM", v.pid); err != nil {
				t.Error(err)
			}
			if got := v.endedBy(t); got != syscall.SIGTERM {
				t.Errorf("it got %v", got)
			}
			if took := time.Since(began); took > killTimeout+30*time.Second { // the client's own time-out is minutes
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestShimKillThatTheServiceRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	v, _ := newVictim(t, func(string) string {
		return `{"error": "io.tripleo.Sidecar.HostFailure", "parameters": {"reason": "r"}}`
	}, "cgroup", testGroup)
	if err := v.kill(t.Context(), "SIGTERM", v.pid); !errors.Is(err, interfaces.ErrHostFailure) || !v.lives() {
		t.Errorf("%v", err)
	}
}

func TestShimKillOfAProgramFromBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	v, f := newVictim(t, nil, "cmdline", "/usr/sbin/keepalived\x00-P\x00")
	if err := v.kill(t.Context(), "SIGTERM", v.pid); err != nil {
		t.Error(err)
	}
	if got := v.endedBy(t); got != syscall.SIGTERM || f.asked("") > 0 {
		t.Errorf("it got %v, the service was asked %q", got, f.calls)
	}
}

func TestShimKillOfAStrangerIsRefused(t *testing.T) {
	t.Parallel()
	v, f := newVictim(t, nil, "cmdline", "/usr/sbin/sshd\x00")
	err := v.kill(t.Context(), "SIGKILL", v.pid)
	if err == nil || !strings.HasSuffix(err.Error(), "is neither a sidecar's nor conntrackd or keepalived: it got no signal") || errors.Is(err, errNoProcess) || !v.lives() || f.asked("") > 0 {
		t.Errorf("%v, asked %q", err, f.calls)
	}
}

// TestFieldDefaultServiceKill: the script of a service without a name of its own signals
// what the agent runs itself, as kill(1) does without the script.
func TestFieldDefaultServiceKill(t *testing.T) {
	t.Parallel()
	targets, ok := scripts["default-service-kill"]
	if !ok {
		t.Fatal("there is no such script")
	}
	v, f := newVictim(t, nil, "cmdline", "/usr/bin/python3\x00/usr/bin/neutron-keepalived-state-change\x00")
	v.targets = targets
	if err := v.kill(t.Context(), "SIGTERM", v.pid); err != nil {
		t.Error(err)
	}
	if got := v.endedBy(t); got != syscall.SIGTERM || f.asked("") > 0 {
		t.Errorf("it got %v, the service was asked %q", got, f.calls)
	}
}

func TestShimKillOfAStandIn(t *testing.T) {
	t.Parallel()
	environ := standInVariable + "=" + testID + " i1\x00"
	for signal, want := range map[string]syscall.Signal{
		"SIGTERM": syscall.SIGALRM, // look at once; a sleep dies of it
		"SIGKILL": syscall.SIGKILL,
	} {
		v, f := newVictim(t, by(map[string]string{"Signal": empty}), "environ", environ)
		if err := v.kill(t.Context(), signal, v.pid); err != nil {
			t.Error(err)
		}
		if asked := fmt.Sprintf(`Signal {"id":%q,"signal":%q}`, testID, signal); f.asked(asked) != 1 {
			t.Errorf("%s: the service was asked %q", signal, f.calls)
		}
		if got := v.endedBy(t); got != want {
			t.Errorf("%s: the stand-in got %v, want %v", signal, got, want)
		}
	}
	v, f := newVictim(t, by(map[string]string{"Signal": empty}), "environ", environ)
	if err := v.kill(t.Context(), "SIGHUP", v.pid); err != nil || f.asked("Signal") != 1 || !v.lives() {
		t.Errorf("SIGHUP: %v, asked %q", err, f.calls)
	}
	v.connect = func() (service, error) { return nil, &client.UnreachableError{Address: "x", Err: syscall.ENOENT} }
	if err := v.kill(t.Context(), "SIGKILL", v.pid); !errors.Is(err, syscall.ENOENT) || !v.lives() {
		t.Errorf("without the service the sidecar would be left alone: %v", err)
	}
	v, _ = newVictim(t, by(map[string]string{"Signal": gone, "List": gone}), "environ", environ)
	if err := v.kill(t.Context(), "SIGHUP", v.pid); err != nil || v.endedBy(t) != syscall.SIGKILL {
		t.Errorf("the sidecar of a stand-in is gone: %v", err)
	}
}

func TestShimKillScriptsTakeWhatNeutronGives(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"15": "SIGTERM", "9": "SIGKILL", "1": "SIGHUP", "HUP": "SIGHUP", "hup": "SIGHUP", "SIGHUP": "SIGHUP",
		"-15": "SIGTERM", "-HUP": "SIGHUP", "-SIGKILL": "SIGKILL", "USR1": "SIGUSR1", "12": "SIGUSR2",
		"": "", "0": "", "-": "", "--9": "", "19": "", "STOP": "", "SIG": "", "SIG9": "", "999": "", "9 ": "", "SIGSIGHUP": "",
	} {
		got, err := parseSignal(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]int{
		"2": 2, "4711": 4711, "": 0, "1": 0, "0": 0, "-1": 0, "-4711": 0, "+5": 0, "x": 0, "4711\n": 0, "99999999999": 0,
	} {
		if got, err := parsePID(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestShimKillScriptsEndWithAMessage(t *testing.T) {
	t.Parallel()
	f := serveFake(t, nil)
	for name := range scripts {
		for _, test := range []struct {
			args []string
			want string
			code int
		}{
			{[]string{"15", "999999999"}, "process 999999999: No such process\n", 1},
			{[]string{"15", "1"}, `"1" is not a process ID` + "\n", 2},
			{[]string{"STOP", "5"}, `"STOP" is not a signal for sidecars; there are SIGHUP, `, 2},
			{[]string{"15"}, "usage: SIGNAL PID, such as 15 4711; got [\"15\"]\n", 2},
			{nil, "usage: ", 2},
		} {
			out, code := f.run(t, name, test.args...)
			if code != test.code || !strings.HasPrefix(out, name+": sidecar: "+test.want) || strings.Count(out, "\n") != 1 {
				t.Errorf("%s %q: exit code %d, %q", name, test.args, code, out)
			}
		}
	}
}
