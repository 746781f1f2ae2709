package dbusserver

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// emitted are signals in a form that tests can write down.
type emitted struct{ lines []string }

func (e *emitted) emit(path godbus.ObjectPath, iface, member string, body ...any) error {
	line := filepath.Base(string(path)) + " " + iface[strings.LastIndexByte(iface, '.')+1:] + "." + member
	for _, v := range body {
		line += " " + short(v)
	}
	e.lines = append(e.lines, line)
	return nil
}

func short(v any) string {
	switch v := v.(type) {
	case godbus.ObjectPath:
		return filepath.Base(string(v))
	case map[string]map[string]godbus.Variant:
		return short(v[interfaces.SidecarInterface])
	case map[string]godbus.Variant:
		var all []string
		for name, value := range v {
			all = append(all, fmt.Sprintf("%s=%v", name, value.Value()))
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	}
	return fmt.Sprintf("%v", v)
}

func told(t *testing.T, events ...interfaces.Event) []string {
	t.Helper()
	var e emitted
	p := &publisher{announced: &announced{sidecars: map[string]interfaces.Sidecar{}}, emit: e.emit}
	p.begin()
	for _, event := range events {
		if err := p.tell(event); err != nil {
			t.Fatal(err)
		}
	}
	return e.lines
}

func in(state interfaces.SidecarState, id string) interfaces.Sidecar {
	s := interfaces.Sidecar{ID: id, Runtime: interfaces.Runtime{State: state, Unit: "u"}}
	if state == interfaces.StateReady {
		s.Runtime.ProcessID = pointer(int64(7))
	}
	return s
}

func stopped(id string) interfaces.Event {
	return interfaces.Event{Kind: interfaces.EventStopped, ID: &id}
}

var (
	synchronized = interfaces.Event{Kind: interfaces.EventSynchronized}
	overrun      = interfaces.Event{Kind: interfaces.EventOverrun}
)

const (
	a = "a.p.000000000000"
	b = "b.p.000000000000"
)

func TestDBusSignals(t *testing.T) {
	t.Parallel()
	changed := in(interfaces.StateReady, a)
	changed.Runtime.ImageOutdated = true
	for name, c := range map[string]struct {
		events []interfaces.Event
		want   []string
	}{
		"the state": {
			[]interfaces.Event{present(in(interfaces.StateReady, a)), synchronized},
			[]string{"Sidecar1 ObjectManager.InterfacesAdded a_2ep_2e000000000000 [Id=a.p.000000000000 State=ready]"},
		},
		"a life": {
			[]interfaces.Event{
				synchronized, event(interfaces.EventStarted, in(interfaces.StateStarting, a)),
				event(interfaces.EventReady, in(interfaces.StateReady, a)), event(interfaces.EventChanged, changed),
				event(interfaces.EventFailed, in(interfaces.StateFailed, a)), stopped(a), stopped(a),
			},
			[]string{
				"Sidecar1 ObjectManager.InterfacesAdded a_2ep_2e000000000000 [Id=a.p.000000000000 State=starting]",
				"Sidecar1 Manager.Started a.p.000000000000 a_2ep_2e000000000000 starting",
				"a_2ep_2e000000000000 Properties.PropertiesChanged io.tripleo.Sidecar1.Sidecar [State=ready] [ProcessId]",
				"Sidecar1 Manager.Ready a.p.000000000000 a_2ep_2e000000000000 ready",
				"a_2ep_2e000000000000 Properties.PropertiesChanged io.tripleo.Sidecar1.Sidecar [] [ImageOutdated]",
				"Sidecar1 Manager.Changed a.p.000000000000 a_2ep_2e000000000000 ready",
				"a_2ep_2e000000000000 Properties.PropertiesChanged io.tripleo.Sidecar1.Sidecar [State=failed] [ImageOutdated ProcessId]",
				"Sidecar1 Manager.Failed a.p.000000000000 a_2ep_2e000000000000 failed",
				"Sidecar1 Manager.Stopped a.p.000000000000 a_2ep_2e000000000000 ",
				"Sidecar1 ObjectManager.InterfacesRemoved a_2ep_2e000000000000 [io.tripleo.Sidecar1.Sidecar]",
			},
		},
		"an overrun": {
			[]interfaces.Event{
				present(in(interfaces.StateReady, a)), present(in(interfaces.StateReady, b)), synchronized,
				overrun, present(in(interfaces.StateFailed, b)), synchronized,
			},
			[]string{
				"Sidecar1 ObjectManager.InterfacesAdded a_2ep_2e000000000000 [Id=a.p.000000000000 State=ready]",
				"Sidecar1 ObjectManager.InterfacesAdded b_2ep_2e000000000000 [Id=b.p.000000000000 State=ready]",
				"b_2ep_2e000000000000 Properties.PropertiesChanged io.tripleo.Sidecar1.Sidecar [State=failed] [ProcessId]",
				"Sidecar1 Manager.Changed b.p.000000000000 b_2ep_2e000000000000 failed",
				"Sidecar1 Manager.Stopped a.p.000000000000 a_2ep_2e000000000000 ",
				"Sidecar1 ObjectManager.InterfacesRemoved a_2ep_2e000000000000 [io.tripleo.Sidecar1.Sidecar]",
			},
		},
		"an overrun after which all is the same": {
			[]interfaces.Event{present(in(interfaces.StateReady, a)), synchronized, overrun, present(in(interfaces.StateReady, a)), synchronized},
			[]string{"Sidecar1 ObjectManager.InterfacesAdded a_2ep_2e000000000000 [Id=a.p.000000000000 State=ready]"},
		},
	} {
		diff(t, name, c.want, told(t, c.events...))
	}
}

// TestDBusSignalsTellNoSecrets shows that signals carry nothing for which polkit is asked.
func TestDBusSignalsTellNoSecrets(t *testing.T) {
	t.Parallel()
	s := aSidecar(anID)
	s.Context.Arguments = []string{"--secret"}
	s.Context.ProcessTag, s.Context.NetworkNamespace = pointer("secret"), pointer("qdhcp-secret")
	failed := s
	failed.Context = &interfaces.Context{Arguments: []string{"--other-secret"}}
	failed.Runtime.Image = "secret"
	all := told(t, event(interfaces.EventStarted, s), event(interfaces.EventFailed, failed), stopped(s.ID))
	for _, line := range all {
		if strings.Contains(line, "secret") {
			t.Error(line)
		}
	}
	if len(all) != 6 {
		t.Errorf("%d signals: %v", len(all), all)
	}
}

func TestDBusSignalsEndWithTheBus(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	p := &publisher{
		announced: &announced{sidecars: map[string]interfaces.Sidecar{}},
		emit:      func(godbus.ObjectPath, string, string, ...any) error { return gone },
	}
	for _, e := range []interfaces.Event{present(in(interfaces.StateReady, a)), event(interfaces.EventReady, in(interfaces.StateReady, a)), stopped(a)} {
		if err := p.tell(e); !errors.Is(err, gone) {
			t.Errorf("%s: %v", e.Kind, err)
		}
	}
}

// TestDBusStateIsToldToANewBus has the same state told on the second connection.
func TestDBusStateIsToldToANewBus(t *testing.T) {
	t.Parallel()
	bus := startBus(t, &fakeCore{}, func(c *Config, _ *memoryBus) {
		c.Subscribe = func() Events {
			return &script{events: []interfaces.Event{present(in(interfaces.StateReady, a)), synchronized}}
		}
	})
	want := []string{"InterfacesAdded a_2ep_2e000000000000"}
	bus.eventually("the state", func() bool { return len(bus.seen()) == 1 })
	bus.disconnect()
	bus.eventually("the state again", func() bool { return len(bus.seen()) == 2 })
	diff(t, "signals", slices.Concat(want, want), bus.seen())
}
