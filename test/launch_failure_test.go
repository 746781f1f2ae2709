//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

func TestLaunchFailureCarriesTheProgramsExitCodeAndOutput(t *testing.T) {
	begin(t)
	first := newNetwork(t)
	start(t, neutron, first.parameters())
	tests := map[string]struct {
		change func(*network, *interfaces.LaunchParameters)
		code   int64
		output string
	}{
		"address in use": {
			change: func(_ *network, p *interfaces.LaunchParameters) { p.NetworkNamespace = &first.namespace },
			code:   2, output: "Address already in use",
		},
		"bad option": {
			change: func(_ *network, p *interfaces.LaunchParameters) {
				p.Arguments = append(p.Arguments, "--dhcp-range=set:s,fd00::,static,255.255.255.0,1h")
			},
			code: 1, output: "dhcp-range",
		},
		"lease file cannot be written": {
			change: func(n *network, _ *interfaces.LaunchParameters) {
				_ = os.Remove(n.file("leases"))
				_ = os.Mkdir(n.file("leases"), 0o755)
			},
			code: 3, output: "lease file",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			good := n.parameters()
			bad := n.parameters()
			test.change(n, &bad)
			id := checkFailure(t, neutron, bad, test.code, test.output)
			checkFailedIsListed(t, neutron, id, test.code)
			_ = os.Remove(n.file("leases"))
			if again := start(t, neutron, good); again.ID != id {
				t.Errorf("launched again as %s, it was %s", again.ID, id)
			}
		})
	}
}

// checkFailure launches what must fail with an exit code and an output, and
// returns the ID of the failed sidecar.
func checkFailure(t *testing.T, agent string, p interfaces.LaunchParameters, code int64, output string) string {
	t.Helper()
	explained, err := as(t, agent).Explain(minute(t), p)
	if err != nil {
		t.Fatalf("explain: %v", err)
	}
	stopAtEnd(t, agent, explained.ID)
	var failed *interfaces.LaunchFailedError
	if !errors.As(refused(t, agent, p, interfaces.ErrLaunchFailed), &failed) {
		t.Fatal("LaunchFailed without its parameters")
	}
	if failed.ExitCode == nil || *failed.ExitCode != code {
		t.Errorf("exit code %v, want %d: %v", failed.ExitCode, code, failed)
	}
	if !strings.Contains(strings.Join(failed.Output, "\n"), output) {
		t.Errorf("output %q has no %q", failed.Output, output)
	}
	return explained.ID
}

// checkFailedIsListed looks at the record that a failed sidecar leaves.
func checkFailedIsListed(t *testing.T, agent, id string, code int64) {
	t.Helper()
	r := get(t, agent, id).Runtime
	if r.State != interfaces.StateFailed || r.ExitCode == nil || *r.ExitCode != code || r.ProcessID != nil || r.ExitedUSec == nil {
		t.Errorf("listed as %+v, want it failed with %d", r, code)
	}
	if got := show(t, r.Unit, "ActiveState"); got != "failed" {
		t.Errorf("%s is %s", r.Unit, got)
	}
}

func TestLaunchFailureOfAScript(t *testing.T) {
	begin(t)
	namespace(t, "t-script")
	p := probe(t, "t-script", "--exit=7")
	id := checkFailure(t, tester, p, 7, "told to exit")
	checkFailedIsListed(t, tester, id, 7)
	if got := processesWith(pidFileOf(p.Arguments)); len(got) > 0 {
		t.Errorf("processes %v are left", got)
	}
}

// TestLaunchFailureThatTheJournalReadsLate: journald, which is stopped until the unit has ended, can
// no longer learn whose run the last lines are. If it reads a syslog(3) message of the process
// first, it cannot even learn their unit.
func TestLaunchFailureThatTheJournalReadsLate(t *testing.T) {
	begin(t)
	namespace(t, "t-late")
	t.Run("standard error", func(t *testing.T) {
		failWithLateJournal(t, tester, probe(t, "t-late", "--exit=7"), 7, "told to exit")
	})
	t.Run("syslog and standard error", func(t *testing.T) {
		p := newNetwork(t).parameters()
		p.Arguments = append(p.Arguments, "--dhcp-range=set:s,fd00::,static,255.255.255.0,1h")
		failWithLateJournal(t, neutron, p, 1, "dhcp-range")
	})
}

func failWithLateJournal(t *testing.T, agent string, p interfaces.LaunchParameters, code int64, said string) {
	t.Helper()
	unit := idOf(agent, p).Unit()
	pid := show(t, "systemd-journald", "MainPID")
	run(t, "kill", "-STOP", pid)
	goOn := make(chan struct{})
	t.Cleanup(func() { <-goOn })
	go func() {
		defer close(goOn)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if state, _ := output("systemctl", "show", "-P", "ActiveState", unit); state == "failed" {
				break
			}
		}
		_, _ = output("kill", "-CONT", pid)
	}()
	checkFailure(t, agent, p, code, said)
}

func TestLaunchWithoutTheImageSaysWhichOne(t *testing.T) {
	begin(t)
	namespace(t, "t-ghost")
	p := shaped(t, "ghost", "t-ghost")
	stopAtEnd(t, tester, idOf(tester, p).String())
	var failed *interfaces.LaunchFailedError
	if !errors.As(refused(t, tester, p, interfaces.ErrLaunchFailed), &failed) || failed.ExitCode == nil || *failed.ExitCode != 125 {
		t.Fatalf("%+v, want exit code 125", failed)
	}
	// podman says it in the unit, or when it prepares the image.
	if said := failed.Error() + strings.Join(failed.Output, "\n"); !strings.Contains(said, "localhost/no-such-image:1") {
		t.Errorf("it says %q", said)
	}
}

// TestFieldMissingPIDDirectory: a launch that sidecar-launch cannot prepare is made once,
// and its unit says why.
func TestFieldMissingPIDDirectory(t *testing.T) {
	begin(t)
	namespace(t, "t-missing")
	since := now()
	p := probe(t, "t-missing")
	p.Arguments[0] = "--pid-file=" + directory(t) + "/missing/pid"
	id := checkFailure(t, tester, p, 125, "/missing: does not exist")
	unit := get(t, tester, id).Runtime.Unit
	if got := show(t, unit, "StatusText"); !strings.HasPrefix(got, "Failed in preparation: ") || !strings.Contains(got, "/missing") {
		t.Errorf("the unit's status is %q", got)
	}
	starts := slices.DeleteFunc(entriesSince(t, since, "UNIT="+unit), func(e entry) bool { return !strings.HasPrefix(e.text("MESSAGE"), "Starting ") })
	if len(starts) != 1 {
		t.Errorf("it was started %d times", len(starts))
	}
}

func TestLaunchNotReadyEndsInTime(t *testing.T) {
	begin(t)
	namespace(t, "t-mute")
	for name, test := range map[string]struct {
		profile string
		asked   *int64
		want    time.Duration
	}{
		"by the profile":             {"mute", nil, 4 * time.Second},
		"by the caller":              {"mute", new(int64(2e6)), 2 * time.Second},
		"by a profile with restarts": {"tardy", nil, 4 * time.Second}, // which a failed launch is not
	} {
		t.Run(name, func(t *testing.T) {
			p := shaped(t, test.profile, "t-mute")
			p.TimeoutUSec = test.asked
			explained, err := as(t, tester).Explain(minute(t), p)
			if err != nil {
				t.Fatal(err)
			}
			stopAtEnd(t, tester, explained.ID)
			began := time.Now()
			var notReady *interfaces.NotReadyError
			if !errors.As(refused(t, tester, p, interfaces.ErrNotReady), &notReady) {
				t.Fatal("NotReady without its parameters")
			}
			// What comes after the time-out, podman's cleaning up, takes its time; a
			// launch that nobody ended would take 30 s.
			took := time.Since(began)
			if took < test.want*9/10 || took > test.want+slowness*2*time.Second {
				t.Errorf("answered after %v, want %v", took, test.want)
			}
			// It says what was left for the start when its turn had come.
			if said := time.Duration(notReady.TimeoutUSec) * time.Microsecond; said > test.want || said < test.want/10 {
				t.Errorf("it says %v, want %v", said, test.want)
			}
			if got := processesWith(pidFileOf(p.Arguments)); len(got) > 0 {
				t.Errorf("processes %v are left", got)
			}
			if r := get(t, tester, explained.ID).Runtime; r.State != interfaces.StateFailed || r.Restarts != 0 {
				t.Errorf("listed as %s, with %d restarts", r.State, r.Restarts)
			}
		})
	}
}

// TestFieldRunIsFull: the caller hears what an operator can do, and nothing stays.
func TestFieldRunIsFull(t *testing.T) {
	begin(t)
	namespace(t, "t-full")
	p := probe(t, "t-full")
	fillUp(t, "/run")
	err := refused(t, tester, p, interfaces.ErrHostFailure)
	if text := err.Error(); !strings.Contains(text, "is /run full?") || strings.Contains(text, "no such unit") {
		t.Errorf("error %v", err)
	}
}

// fillUp leaves no space on a tmpfs until the test ends.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	resize := func(blocks uint64) {
		run(t, "mount", "-o", fmt.Sprintf("remount,size=%d", blocks*uint64(st.Bsize)), dir)
	}
	filler := filepath.Join(dir, "filler")
	t.Cleanup(func() {
		_ = os.Remove(filler)
		resize(st.Blocks)
	})
	resize(st.Blocks - st.Bfree + 16)
	file, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<16); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}
