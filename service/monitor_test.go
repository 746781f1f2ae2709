package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

func TestMonitorTellsALife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
			return systemd.Outcome{Delay: time.Second}
		}
		h.launch(t, "net-0")
		there, id := dnsmasqID("net-0"), dnsmasqID("net-1")
		w := h.watch(t, operator(), interfaces.MonitorParameters{})
		diff(t, "the state", []string{"present " + there.String() + " ready", "synchronized"}, w.said())

		h.launch(t, "net-1")
		s := " " + id.String()
		diff(t, "a launch", []string{"started" + s + " starting", "ready" + s + " ready"}, w.said())
		h.units.Exit(id.Unit(), 7)
		diff(t, "its death", []string{"failed" + s + " failed"}, w.said())
		h.launch(t, "net-1")
		diff(t, "a launch after that", []string{"stopped" + s, "started" + s + " starting", "ready" + s + " ready"}, w.said())
		h.units.OnStop = func(systemd.Unit) systemd.Outcome { return systemd.Outcome{Delay: time.Second} }
		if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: id.String()}); err != nil {
			t.Fatal(err)
		}
		diff(t, "a stop", []string{"changed" + s + " stopping", "stopped" + s}, w.said())
		w.cancel()
		if err := <-w.done; !errors.Is(err, context.Canceled) {
			t.Errorf("end: %v", err)
		}
	})
}

// TestMonitorShowsWhatTheCallerSees shows that an agent hears of its own sidecars
// only, and that selectors leave out the rest.
func TestMonitorShowsWhatTheCallerSees(t *testing.T) {
	t.Parallel()
	agent, other, profile := "neutron-dhcp", "neutron-l3", "haproxy"
	for name, test := range map[string]struct {
		caller Caller
		p      interfaces.MonitorParameters
		sees   bool
	}{
		"its own":           {dhcpAgent(), interfaces.MonitorParameters{}, true},
		"its own, named":    {dhcpAgent(), interfaces.MonitorParameters{Agent: &agent}, true},
		"another's":         {Caller{Agent: other, PIDFD: -1}, interfaces.MonitorParameters{}, false},
		"another profile":   {dhcpAgent(), interfaces.MonitorParameters{Profile: &profile}, false},
		"operator":          {operator(), interfaces.MonitorParameters{}, true},
		"operator, one":     {operator(), interfaces.MonitorParameters{Agent: &agent}, true},
		"operator, another": {operator(), interfaces.MonitorParameters{Agent: &other}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := observed(t)
				h.launch(t, "net-0")
				w := h.watch(t, test.caller, test.p)
				state := w.said()
				h.launch(t, "net-1")
				changes := w.said()
				want := []string{"synchronized"}
				if test.sees {
					want = []string{"present " + dnsmasqID("net-0").String() + " ready", "synchronized"}
				}
				diff(t, "the state", want, state)
				if (len(changes) > 0) != test.sees {
					t.Errorf("changes: %v", changes)
				}
			})
		})
	}
}

func TestMonitorRefuses(t *testing.T) {
	t.Parallel()
	other, bad := "neutron-l3", "../x"
	for name, test := range map[string]struct {
		caller Caller
		p      interfaces.MonitorParameters
		want   error
	}{
		"another agent":     {dhcpAgent(), interfaces.MonitorParameters{Agent: &other}, interfaces.ErrNoSuchAgent},
		"a stranger":        {Caller{UID: 1000, PIDFD: -1}, interfaces.MonitorParameters{}, interfaces.ErrPermissionDenied},
		"a bad agent":       {operator(), interfaces.MonitorParameters{Agent: &bad}, interfaces.ErrInvalidParameter},
		"a bad profile":     {operator(), interfaces.MonitorParameters{Profile: &bad}, interfaces.ErrInvalidParameter},
		"syntax goes first": {Caller{UID: 1000, PIDFD: -1}, interfaces.MonitorParameters{Profile: &bad}, interfaces.ErrInvalidParameter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			err := h.core.Watch(t.Context(), test.caller, test.p, func(interfaces.Event) error { return nil })
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if n := len(h.journal.recorded("Monitor")); n != 1 {
				t.Errorf("%d entries in the journal", n)
			}
		})
	}
}

// TestMonitorOverrun shows that a reader that falls behind is told so, and gets the
// state as it is then, complete and followed by the changes after it.
func TestMonitorOverrun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		w := h.watch(t, operator(), interfaces.MonitorParameters{})
		if got := <-w.events; got.Kind != interfaces.EventSynchronized {
			t.Fatalf("first: %v", words(got))
		}
		h.launch(t, "net-held")
		time.Sleep(time.Minute)
		want := []string{"present " + dnsmasqID("net-held").String() + " ready"}
		for n := range events.MaxQueue/2 + 2 {
			h.launch(t, fmt.Sprint("net-", n))
		}
		for n := range events.MaxQueue/2 + 2 {
			if n != 1 {
				want = append(want, "present "+dnsmasqID(fmt.Sprint("net-", n)).String()+" ready")
			}
		}
		slices.Sort(want)
		time.Sleep(time.Minute)
		if _, err := h.core.Stop(t.Context(), operator(), interfaces.StopParameters{ID: dnsmasqID("net-1").String()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		held := <-w.events // was on its way
		got := w.said()
		if held.Kind != interfaces.EventStarted || len(got) == 0 || got[0] != "overrun" || got[len(got)-1] != "synchronized" {
			t.Fatalf("%s, then %d events: %.3q", words(held), len(got), got)
		}
		diff(t, "the state", want, got[1:len(got)-1])
		h.units.Exit(dnsmasqID("net-0").Unit(), 7)
		diff(t, "changes", []string{"failed " + dnsmasqID("net-0").String() + " failed"}, w.said())
	})
}

// TestMonitorSlowReaderHoldsNobodyUp shows that a reader that takes nothing costs
// the others nothing.
func TestMonitorSlowReaderHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
			return systemd.Outcome{Delay: time.Second}
		}
		h.watch(t, operator(), interfaces.MonitorParameters{}) // never read
		w := h.watch(t, operator(), interfaces.MonitorParameters{})
		for n := range events.MaxQueue {
			h.launch(t, fmt.Sprint("net-", n))
			w.said()
		}
		h.launch(t, "net-last")
		s := " " + dnsmasqID("net-last").String()
		diff(t, "the last launch", []string{"started" + s + " starting", "ready" + s + " ready"}, w.said())
	})
}

func TestMonitorTellsOfAnotherPolicy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		h.launch(t, "net-0")
		w := h.watch(t, operator(), interfaces.MonitorParameters{})
		w.said()
		dir := installed(t, "policy/profiles.d")
		text := strings.Replace(string(mustRead(t, "policy/profiles.d/dnsmasq.toml")), "image ", "image = \"localhost/newer:2\"\n# image ", 1)
		if err := os.WriteFile(filepath.Join(dir, "profiles.d", "dnsmasq.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		set, err := policy.Load(dir, installed(t, "policy/examples/agents.d"))
		if err != nil {
			t.Fatal(err)
		}
		h.core.SetPolicy(set)
		event := <-w.events
		if event.Kind != interfaces.EventChanged || !event.Sidecar.Runtime.ImageOutdated {
			t.Errorf("%s: %+v", words(event), event.Sidecar)
		}
	})
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestMonitorRests shows that nobody asks systemd for anything while nothing
// happens, also after a sidecar has gone.
func TestMonitorRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		var questions atomic.Int64
		h.units.Before = func(string, string) error {
			questions.Add(1)
			return nil
		}
		h.observe(t)
		h.launch(t, "net-0")
		if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: dnsmasqID("net-0").String()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		before := questions.Load()
		time.Sleep(time.Hour)
		if n := questions.Load() - before; n > 0 {
			t.Errorf("%d questions in an hour without events", n)
		}
	})
}

// TestMonitorLimit shows that one agent can have so many monitors, that this is not
// another's loss, and that one that ends makes room.
func TestMonitorLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := observed(t)
		var last *watch
		for range events.MaxPerReader {
			last = h.watch(t, dhcpAgent(), interfaces.MonitorParameters{})
		}
		synctest.Wait()
		one := h.watch(t, dhcpAgent(), interfaces.MonitorParameters{})
		if err := <-one.done; !errors.Is(err, interfaces.ErrOverloaded) {
			t.Errorf("one too many: %v", err)
		}
		for _, caller := range []Caller{operator(), {Agent: "neutron-l3", PIDFD: -1}} {
			diff(t, "another's", []string{"synchronized"}, h.watch(t, caller, interfaces.MonitorParameters{}).said())
		}
		last.cancel()
		<-last.done
		diff(t, "the next", []string{"synchronized"}, h.watch(t, dhcpAgent(), interfaces.MonitorParameters{}).said())
	})
}
