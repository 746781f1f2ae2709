package service

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// TestLifecycleRestartProperties: systemd counts the launch's own start, too, and its own
// "always" would start again what was killed.
func TestLifecycleRestartProperties(t *testing.T) {
	t.Parallel()
	five := policy.Restart{When: policy.RestartOnFailure, Delay: 3 * time.Second, Limit: 5, Interval: time.Minute}
	always, unlimited := five, five
	always.When = policy.RestartAlways
	unlimited.Limit, unlimited.Interval = 0, 0
	common := []string{"Restart=on-failure", "RestartUSec=3s"}
	for name, c := range map[string]struct {
		restart  policy.Restart
		standIns bool
		want     []string
	}{
		"no":         {policy.Restart{When: policy.RestartNo}, false, []string{"Restart=no"}},
		"on failure": {five, false, append(slices.Clone(common), "StartLimitIntervalUSec=1min", "StartLimitBurst=6")},
		"always":     {always, false, append(slices.Clone(common), "StartLimitIntervalUSec=1min", "StartLimitBurst=6", "RestartForceExitStatus=0")},
		"unlimited":  {unlimited, false, append(slices.Clone(common), "StartLimitIntervalUSec=0", "StartLimitBurst=1")},
		"stand-ins":  {always, true, []string{"Restart=no"}},
	} {
		d := &policy.Decision{Profile: &policy.Profile{Restart: c.restart}, Agent: &policy.Agent{StandIns: c.standIns}}
		var got []string
		for _, p := range restarts(d) {
			got = append(got, p.Name+"="+systemd.Format(p))
		}
		diff(t, name, c.want, got)
	}
}

// runs launches a sidecar.
func (h *fakeHost) runs(t *testing.T) interfaces.Sidecar {
	t.Helper()
	reply, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if err != nil {
		t.Fatal(err)
	}
	return reply.Sidecar
}

// TestLifecycleRestartIsListed checks how List shows a sidecar that waits for its restart.
func TestLifecycleRestartIsListed(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, strings.Repeat("a", 64))))
	s := h.runs(t)
	h.units.Update(s.Runtime.Unit, func(u *systemd.Unit) {
		waitingForRestart(u)
		u.ExitedUSec, u.RestartUSec = 1_000_000, 2_000_000
	})
	reply, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: &s.ID})
	if err != nil || len(reply) != 1 {
		t.Fatalf("%v, %v", reply, err)
	}
	want := s.Runtime
	want.State, want.ProcessID, want.StartedUSec = interfaces.StateRestarting, nil, nil
	want.Restarts, want.ExitCode, want.Result = 3, new(int64(7)), new("exit-code")
	want.ExitedUSec, want.RestartUSec = new(int64(1_000_000)), new(int64(2_000_000))
	diff(t, "runtime", want, reply[0].Runtime)
}

// TestLifecycleRestartIsEndedBySignals: a signal that ends a process ends the unit, which systemd
// would start again.
func TestLifecycleRestartIsEndedBySignals(t *testing.T) {
	t.Parallel()
	const process = "process"
	waiting, none := waitingForRestart, func(*systemd.Unit) {}
	never := func(u *systemd.Unit) { u.Restarts = false }
	for name, c := range map[string]struct {
		signal string
		found  func(*systemd.Unit)
		want   []string
		err    error
	}{
		"TERM":                     {"SIGTERM", none, []string{"QueueStop"}, nil},
		"KILL":                     {"SIGKILL", none, []string{process + " SIGKILL", "QueueStop"}, nil},
		"INT":                      {"SIGINT", none, []string{process + " SIGINT", "QueueStop"}, nil},
		"HUP":                      {"SIGHUP", none, []string{process + " SIGHUP"}, nil},
		"TERM while it waits":      {"SIGTERM", waiting, []string{"QueueStop"}, nil},
		"KILL while it waits":      {"SIGKILL", waiting, []string{"QueueStop"}, nil},
		"HUP while it waits":       {"SIGHUP", waiting, nil, interfaces.ErrNoSuchSidecar},
		"TERM, one never repaired": {"SIGTERM", never, []string{process + " SIGTERM"}, nil},
		"TERM while it stops":      {"SIGTERM", func(u *systemd.Unit) { u.ActiveState = "deactivating" }, nil, interfaces.ErrNoSuchSidecar},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, "")))
			s := h.runs(t)
			h.units.Update(s.Runtime.Unit, c.found)
			h.units.Before = func(operation, _ string) error {
				if operation == "QueueStop" {
					h.signals.sent = append(h.signals.sent, operation)
				}
				return nil
			}
			_, err := h.core.Signal(t.Context(), dhcpAgent(), interfaces.SignalParameters{ID: s.ID, Signal: c.signal})
			if !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
			var got []string
			for _, sent := range h.signals.sent {
				if _, signal, ok := strings.Cut(sent, " "); ok {
					sent = process + " " + signal
				}
				got = append(got, sent)
			}
			diff(t, "done", c.want, got)
		})
	}
}

// TestLifecycleRestartSignalDuringALaunch: the launch replaces the unit, and must not be stopped.
func TestLifecycleRestartSignalDuringALaunch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, "")))
		s := h.runs(t)
		h.units.OnStop = func(systemd.Unit) systemd.Outcome { return systemd.Outcome{Delay: time.Second} }
		done := make(chan error)
		go func() {
			_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
			done <- err
		}()
		synctest.Wait()
		_, err := h.core.Signal(t.Context(), dhcpAgent(), interfaces.SignalParameters{ID: s.ID, Signal: "SIGTERM"})
		if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Errorf("a signal to what stops: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("the launch: %v", err)
		}
		diff(t, "starts", 2, h.starts())
	})
}

// TestLifecycleLimitsOutOfMemory: a program can match what happened.
func TestLifecycleLimitsOutOfMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*interfaces.MemoryLimit{
		"Out of memory: limit of the profile": new(interfaces.MemoryLimitProfile),
		"Out of memory: limit of the agent":   new(interfaces.MemoryLimitAgent),
		"Out of memory: limit of the host":    new(interfaces.MemoryLimitHost),
		"Out of memory: limit of the moon":    nil,
		"Ready: process 4711":                 nil,
	} {
		h := newFakeHost(t)
		h.units.OnStart = always(systemd.Outcome{Change: func(u *systemd.Unit) {
			u.ActiveState, u.SubState, u.Result, u.StatusText = "failed", "failed", "oom-kill", text
			u.ExecMainCode, u.ExecMainStatus = 1, 137
		}})
		_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
		failed, ok := errors.AsType[*interfaces.LaunchFailedError](err)
		if !ok {
			t.Fatalf("%s: %v", text, err)
		}
		diff(t, text+": result", new("oom-kill"), failed.Result)
		diff(t, text+": limit", want, failed.MemoryLimit)
		reply, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
		if err != nil || len(reply) != 1 {
			t.Fatalf("%v, %v", reply, err)
		}
		diff(t, text+": listed", want, reply[0].Runtime.MemoryLimit)
	}
}
