//go:build testhost

package test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// crash has a payload exit with code 9 by itself.
func crash(t *testing.T, s *interfaces.Sidecar) {
	t.Helper()
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
}

// crashMain ends podman's monitor, which is no stop, or crashes a payload that is alone.
func crashMain(t *testing.T, s *interfaces.Sidecar) {
	t.Helper()
	if usedEngine == podmanEngine {
		killMain(t, s.Runtime.Unit)
		return
	}
	crash(t, s)
}

// TestLifecycleRestartRepairs: what exits is started again, with a new pid file, until its limit is
// reached. The next launch begins to count from zero.
func TestLifecycleRestartRepairs(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-mend")
		m, _ := monitor(t, as(t, tester), interfaces.MonitorParameters{Profile: new("mended")})
		p := shaped(t, "mended", "t-mend")
		s := start(t, tester, p)
		m.until(t, s.ID, interfaces.EventReady)
		for n := range int64(2) {
			crash(t, s)
			kinds, waits := m.until(t, s.ID, interfaces.EventRestarting)
			wantKinds(t, "a crash", kinds, interfaces.EventRestarting)
			checkWaits(t, waits.Sidecar, n)
			if text, err := os.ReadFile(pidFileOf(p.Arguments)); err == nil {
				t.Errorf("its pid file still says %q", text)
			}
			kinds, ready := m.until(t, s.ID, interfaces.EventReady)
			wantKinds(t, "a restart", kinds, interfaces.EventStarted, interfaces.EventReady)
			s = ready.Sidecar
			checkRunning(t, s, p)
			if s.Runtime.Restarts != n+1 {
				t.Errorf("%d restarts, want %d", s.Runtime.Restarts, n+1)
			}
		}
		crash(t, s)
		_, failed := m.until(t, s.ID, interfaces.EventFailed)
		r := failed.Sidecar.Runtime
		if r.Result == nil || *r.Result != "exit-code" || r.ExitCode == nil || *r.ExitCode != 9 || r.RestartUSec != nil {
			t.Errorf("after too many restarts: %+v", r)
		}
		again := start(t, tester, p)
		if again.Runtime.Restarts != 0 {
			t.Errorf("launched again: %d restarts", again.Runtime.Restarts)
		}
		crash(t, again)
		if again = awaitRestart(t, again.ID, 1); again.Runtime.ProcessID == nil {
			t.Errorf("restarted again: %+v", again)
		}
	})
}

// checkWaits holds a sidecar to wait for its restart after it has exited with 9.
func checkWaits(t *testing.T, s *interfaces.Sidecar, restarts int64) {
	t.Helper()
	r := s.Runtime
	if r.State != interfaces.StateRestarting || r.ProcessID != nil || r.Result == nil || *r.Result != "exit-code" ||
		r.ExitCode == nil || *r.ExitCode != 9 || r.Restarts != restarts || r.ExitedUSec == nil || r.RestartUSec == nil {
		t.Fatalf("%+v, want that it waits for restart %d", r, restarts+1)
	}
	if wait := time.Duration(*r.RestartUSec-*r.ExitedUSec) * time.Microsecond; wait < 2*time.Second {
		t.Errorf("it is started again after %v", wait)
	}
}

// TestLifecycleRestartAfterASignalOfItsOwn: only signals that stop a process are no failure. The
// first process of a pid namespace would not get SIGSEGV from outside.
func TestLifecycleRestartAfterASignalOfItsOwn(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-mend")
		s := start(t, tester, shaped(t, "hostly", "t-mend"))
		if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
		awaitRestart(t, s.ID, 1)
	})
}

// TestLifecycleRestartNeverAfterAStop: it is stopped in every way, and is not started again. A unit
// that waited for its restart would be listed.
func TestLifecycleRestartNeverAfterAStop(t *testing.T) {
	signal := func(name string) func(*testing.T, *interfaces.Sidecar) error {
		return func(t *testing.T, s *interfaces.Sidecar) error {
			return as(t, tester).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: name})
		}
	}
	kill := func(number syscall.Signal) func(*testing.T, *interfaces.Sidecar) error {
		return func(_ *testing.T, s *interfaces.Sidecar) error {
			return syscall.Kill(int(*s.Runtime.ProcessID), number)
		}
	}
	ways := map[string]func(*testing.T, *interfaces.Sidecar) error{
		"Signal TERM": signal("SIGTERM"), "Signal KILL": signal("SIGKILL"),
		"TERM": kill(syscall.SIGTERM), "KILL": kill(syscall.SIGKILL), // as neutron-netns-cleanup does
		"Stop": func(t *testing.T, s *interfaces.Sidecar) error {
			_, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID})
			return err
		},
	}
	forEachEngine(t, func(t *testing.T) {
		for _, profile := range []string{"mended", "undying"} {
			for way, stop := range ways {
				t.Run(profile+" "+way, func(t *testing.T) {
					begin(t)
					namespace(t, "t-mend")
					p := shaped(t, profile, "t-mend")
					s := start(t, tester, p)
					if err := stop(t, s); err != nil {
						t.Fatal(err)
					}
					gone(t, tester, s.ID)
					if text, err := os.ReadFile(pidFileOf(p.Arguments)); err == nil {
						t.Errorf("its pid file still says %q", text)
					}
				})
			}
		}
		t.Run("Signal that makes it fail", func(t *testing.T) {
			begin(t)
			namespace(t, "t-mend")
			s := start(t, tester, shaped(t, "mended", "t-mend"))
			if err := signal("SIGINT")(t, s); err != nil {
				t.Fatal(err)
			}
			eventually(t, 10*time.Second, "it has failed", func() bool { return get(t, tester, s.ID).Runtime.State == interfaces.StateFailed })
		})
	})
}

// TestLifecycleRestartWaits: a sidecar that waits for an hour is listed, holds up nobody, and can be
// replaced and stopped.
func TestLifecycleRestartWaits(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-mend")
		p := shaped(t, "patient", "t-mend")
		waits := func(t *testing.T) *interfaces.Sidecar {
			t.Helper()
			s := start(t, tester, p)
			crash(t, s)
			eventually(t, 10*time.Second, "it waits", func() bool { return get(t, tester, s.ID).Runtime.State == interfaces.StateRestarting })
			return s
		}
		other := p
		other.Arguments = append([]string{"--text=other"}, p.Arguments...)
		for name, c := range map[string]struct {
			p    interfaces.LaunchParameters
			mode interfaces.LaunchMode
			want error
		}{
			"replace":       {p, interfaces.ModeReplace, nil},
			"adopt":         {p, interfaces.ModeAdopt, nil},
			"adopt another": {other, interfaces.ModeAdopt, nil},
			"keep":          {p, interfaces.ModeKeep, nil},
			"keep another":  {other, interfaces.ModeKeep, interfaces.ErrSidecarExists},
			"fail":          {p, interfaces.ModeFail, interfaces.ErrSidecarExists},
		} {
			s := waits(t)
			c.p.Mode = &c.mode
			again, err := as(t, tester).Launch(minute(t), c.p)
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			if err == nil && (again.Runtime.State != interfaces.StateReady || *again.Runtime.InvocationID == *s.Runtime.InvocationID) {
				t.Errorf("%s: %+v", name, again)
			}
		}
		s := waits(t)
		err := as(t, tester).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGHUP"})
		if state := get(t, tester, s.ID).Runtime.State; !errors.Is(err, interfaces.ErrNoSuchSidecar) || state != interfaces.StateRestarting {
			t.Errorf("SIGHUP while it waits: %v, and it is %s", err, state)
		}
		if text := run(t, "sidecarctl", "list", "--agent", tester); !strings.Contains(text, "restarting, exit code 9") {
			t.Errorf("list says %s", text)
		}
		if err := as(t, tester).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGTERM"}); err != nil {
			t.Errorf("SIGTERM while it waits: %v", err)
		}
		gone(t, tester, s.ID)
		s = waits(t)
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Errorf("Stop while it waits: %v", err)
		}
		gone(t, tester, s.ID)
	})
}

// TestLifecycleRestartWithoutItsNamespace: restarts fail when the namespace has gone, and end.
func TestLifecycleRestartWithoutItsNamespace(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-mend")
		m, _ := monitor(t, as(t, tester), interfaces.MonitorParameters{Profile: new("mended")})
		s := start(t, tester, shaped(t, "mended", "t-mend"))
		run(t, "ip", "netns", "delete", "t-mend")
		crash(t, s)
		_, failed := m.until(t, s.ID, interfaces.EventFailed)
		if r := failed.Sidecar.Runtime; r.ExitCode == nil || *r.ExitCode != 125 {
			t.Errorf("it has failed as %+v", r)
		}
		if text := show(t, s.Runtime.Unit, "StatusText"); !strings.Contains(text, "Failed in preparation: network namespace \"t-mend\"") {
			t.Errorf("its status is %q", text)
		}
	})
}

// TestLifecycleRestartByTheKillScript: the shim's kill script stops what would be started again.
func TestLifecycleRestartByTheKillScript(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		n := bareNetwork(t)
		s := start(t, neutron, n.parameters())
		shimsOf(t, neutron).killed(t, "dnsmasq-kill", "15", int(*s.Runtime.ProcessID))
		gone(t, neutron, s.ID)
	})
}
