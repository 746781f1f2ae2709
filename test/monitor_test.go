//go:build testhost

package test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

func TestMonitorTellsALifeInOrder(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	first := start(t, tester, probe(t, "t-watch"))
	m, state := monitor(t, as(t, tester), interfaces.MonitorParameters{})
	if diff := cmp.Diff([]interfaces.Sidecar{*first}, state); diff != "" {
		t.Errorf("the state (-launched +told):\n%s", diff)
	}
	p := probe(t, "t-watch")
	s := start(t, tester, p)
	kinds, ready := m.until(t, s.ID, interfaces.EventReady)
	wantKinds(t, "a launch", kinds, interfaces.EventStarted, interfaces.EventReady)
	if diff := cmp.Diff(s, ready.Sidecar); diff != "" {
		t.Errorf("ready (-answered +told):\n%s", diff)
	}
	killMain(t, s.Runtime.Unit)
	end := endOfMain()
	kinds, ended := m.until(t, s.ID, end)
	wantKinds(t, "its death", kinds, end)
	afterwards := []interfaces.EventKind{interfaces.EventStarted, interfaces.EventReady}
	if end == interfaces.EventFailed {
		if r := ended.Sidecar.Runtime; r.State != interfaces.StateFailed || r.ExitSignal == nil || *r.ExitSignal != "SIGKILL" {
			t.Errorf("failed: %+v", r)
		}
		afterwards = append([]interfaces.EventKind{interfaces.EventStopped}, afterwards...)
	}
	s = start(t, tester, p)
	kinds, _ = m.until(t, s.ID, interfaces.EventReady)
	wantKinds(t, "a launch after that", kinds, afterwards...)
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	kinds, _ = m.until(t, s.ID, interfaces.EventStopped)
	wantKinds(t, "a kill, which is a stop", kinds, interfaces.EventStopped)
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: first.ID}); err != nil {
		t.Fatal(err)
	}
	kinds, _ = m.until(t, first.ID, interfaces.EventStopped)
	wantKinds(t, "a stop", kinds, interfaces.EventStopped)
	m.quiet(t)
}

func TestMonitorTellsAFailedLaunch(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	m, _ := monitor(t, as(t, tester), interfaces.MonitorParameters{})
	p := probe(t, "t-watch", "--exit=7")
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).String()
	stopAtEnd(t, tester, id)
	refused(t, tester, p, interfaces.ErrLaunchFailed)
	kinds, failed := m.until(t, id, interfaces.EventFailed)
	wantKinds(t, "a launch that fails", kinds, interfaces.EventStarted, interfaces.EventFailed)
	if r := failed.Sidecar.Runtime; r.ExitCode == nil || *r.ExitCode != 7 {
		t.Errorf("failed: %+v", r)
	}
}

func TestMonitorTellsRestartsBySystemd(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	m, _ := monitor(t, as(t, tester), interfaces.MonitorParameters{Profile: new("phoenix")})
	s := start(t, tester, shaped(t, "phoenix", "t-watch"))
	m.until(t, s.ID, interfaces.EventReady)
	for n := range int64(2) {
		crashMain(t, s)
		kinds, ready := m.until(t, s.ID, interfaces.EventReady)
		wantKinds(t, "a restart", kinds, interfaces.EventRestarting, interfaces.EventStarted, interfaces.EventReady)
		s = ready.Sidecar
		if s.Runtime.Restarts != n+1 {
			t.Errorf("%d restarts, want %d", s.Runtime.Restarts, n+1)
		}
	}
}

func TestMonitorHoldsAgentsApart(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	start(t, tester, probe(t, "t-watch"))
	other, state := monitor(t, as(t, limited), interfaces.MonitorParameters{})
	if len(state) > 0 {
		t.Errorf("another agent is told of %v", state)
	}
	operator, state := monitor(t, at(t, hostSocket), interfaces.MonitorParameters{Agent: new(limited)})
	if len(state) > 0 {
		t.Errorf("an operator who asked for another agent is told of %v", state)
	}
	start(t, tester, probe(t, "t-watch"))
	s := start(t, limited, probe(t, "t-watch"))
	for _, m := range []*monitoring{other, operator} {
		if e := m.next(t); *e.ID != s.ID || e.Kind != interfaces.EventStarted {
			t.Errorf("%s of %s, want that %s is started", e.Kind, *e.ID, s.ID)
		}
	}
	for _, err := range as(t, limited).Monitor(minute(t), interfaces.MonitorParameters{Agent: new(tester)}) {
		if !errors.Is(err, interfaces.ErrNoSuchAgent) {
			t.Errorf("another agent, by name: %v", err)
		}
	}
}

// TestMonitorOutlivesTheBus shows that a monitor hears what happened while the bus
// was away, once, and nothing that did not happen.
func TestMonitorOutlivesTheBus(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	start(t, tester, probe(t, "t-watch"))
	s := start(t, tester, probe(t, "t-watch"))
	m, _ := monitor(t, at(t, hostSocket), interfaces.MonitorParameters{})
	run(t, "systemctl", "stop", "dbus.socket", "dbus.service")
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the payload is dead", func() bool { return !alive(int(*s.Runtime.ProcessID)) })
	run(t, "systemctl", "start", "dbus.socket", "dbus.service")
	kinds, _ := m.until(t, s.ID, interfaces.EventStopped)
	wantKinds(t, "a death without the bus", kinds, interfaces.EventStopped)
	m.quiet(t)
	again := start(t, tester, probe(t, "t-watch"))
	kinds, _ = m.until(t, again.ID, interfaces.EventReady)
	wantKinds(t, "a launch afterwards", kinds, interfaces.EventStarted, interfaces.EventReady)
}

// TestMonitorEndsWithTheDaemon shows that a daemon that is told to end does not wait
// for monitors, that their callers are told, and that a new one tells the same.
func TestMonitorEndsWithTheDaemon(t *testing.T) {
	begin(t)
	namespace(t, "t-watch")
	start(t, tester, probe(t, "t-watch"))
	for name, end := range map[string]func(){
		"restarted": func() { run(t, "systemctl", "restart", "sidecard") },
		"killed":    func() { killDaemon(t) },
	} {
		m, before := monitor(t, as(t, tester), interfaces.MonitorParameters{})
		begin := time.Now()
		end()
		select {
		case err := <-m.end:
			if !errors.Is(err, client.ErrInterrupted) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(slowness * 5 * time.Second):
			t.Fatalf("%s: the monitor goes on", name)
		}
		awaitDaemon(t)
		if d := time.Since(begin); d > 9*time.Second && name == "restarted" {
			t.Errorf("a restart takes %v: it waited for the monitor", d)
		}
		_, after := monitor(t, as(t, tester), interfaces.MonitorParameters{})
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: the state (-before +after):\n%s", name, diff)
		}
	}
}
