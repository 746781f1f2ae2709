//go:build testhost

package test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// listener hears what the service tells everybody on the bus.
type listener struct {
	signals chan *dbus.Signal
	secrets []string // that nothing of it may have
}

func listen(t *testing.T, secrets ...string) *listener {
	t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.AddMatchSignal(dbus.WithMatchSender(interfaces.BusName)); err != nil {
		t.Fatal(err)
	}
	l := &listener{signals: make(chan *dbus.Signal, 10000), secrets: secrets}
	conn.Signal(l.signals)
	return l
}

// until waits for a signal of the manager about a sidecar, and returns all signals
// about it up to then but Changed, by their names, and with the state if they tell it.
func (l *listener) until(t *testing.T, id interfaces.ID, member string) []string {
	t.Helper()
	var heard []string
	for {
		var s *dbus.Signal
		select {
		case s = <-l.signals:
		case <-time.After(slowness * 10 * time.Second):
			t.Fatalf("no %s of %s; heard %v", member, id, heard)
		}
		text := fmt.Sprint(s.Path, s.Body)
		for _, secret := range l.secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells %q: %s", s.Name, secret, text)
			}
		}
		if !strings.Contains(text, id.String()) && !strings.Contains(text, id.Path()) {
			continue
		}
		name := strings.TrimPrefix(filepath.Ext(s.Name), ".")
		if state, ok := stateIn(s.Body); ok {
			name += " " + state
		}
		if !strings.HasPrefix(name, "Changed") && name != "PropertiesChanged" { // the state is another one
			heard = append(heard, name)
		}
		if strings.HasPrefix(name, member) {
			return heard
		}
	}
}

// stateIn finds the state in the body of a signal.
func stateIn(body []any) (string, bool) {
	for _, v := range body {
		switch v := v.(type) {
		case map[string]map[string]dbus.Variant:
			s, ok := v[interfaces.SidecarInterface]["State"].Value().(string)
			return s, ok
		case map[string]dbus.Variant:
			s, ok := v["State"].Value().(string)
			return s, ok
		case string:
			if slices.Contains(interfaces.SidecarStates, interfaces.SidecarState(v)) {
				return v, true
			}
		}
	}
	return "", false
}

func wantSignals(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: heard %q, want %q", what, got, want)
	}
}

// TestDBusSignalsOfALife launches, kills, launches again and stops, and hears each
// of it in its order, with nothing that not everybody may know.
func TestDBusSignalsOfALife(t *testing.T) {
	begin(t)
	namespace(t, "t-hear")
	p := shaped(t, "gated", "t-hear", "--text=a-secret")
	p.ProcessTag = new("my-tag")
	l := listen(t, "a-secret", "my-tag", pidFileOf(p.Arguments), "t-hear")
	id := interfaces.NewID(tester, "gated", pidFileOf(p.Arguments))
	stopAtEnd(t, tester, id.String())
	launched := make(chan error, 1)
	go func() {
		_, err := as(t, tester).Launch(minute(t), p)
		launched <- err
	}()
	wantSignals(t, "the start", l.until(t, id, "Started"), "InterfacesAdded starting", "Started starting")
	openGate(t, p)
	wantSignals(t, "ready", l.until(t, id, "Ready"), "PropertiesChanged ready", "Ready ready")
	if err := <-launched; err != nil {
		t.Fatal(err)
	}
	killMain(t, id.Unit())
	if heard := l.until(t, id, "Failed"); heard[len(heard)-1] != "Failed failed" || slices.Contains(heard, "Stopped") {
		t.Errorf("its death: heard %q", heard) // it may be seen stopping before
	}
	if err := manager(minute(t), nil, "Stop", "sa{sv}", id.String(), "0"); err != nil {
		t.Fatal(err)
	}
	wantSignals(t, "the stop", l.until(t, id, "InterfacesRemoved"), "Stopped", "InterfacesRemoved")
}

// TestDBusSignalsAfterTheBus has the state told again on a new bus.
func TestDBusSignalsAfterTheBus(t *testing.T) {
	begin(t)
	namespace(t, "t-hear")
	s := start(t, tester, probe(t, "t-hear"))
	id, _ := interfaces.ParseID(s.ID)
	run(t, "systemctl", "restart", "dbus.service")
	l := listenSoon(t)
	eventually(t, 5*time.Second, "the twin is back", func() bool {
		return manager(minute(t), nil, "ListProfiles", "a{sv}", "0") == nil
	})
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	heard := l.until(t, id, "InterfacesRemoved")
	if !slices.Equal(heard[len(heard)-2:], []string{"Stopped", "InterfacesRemoved"}) {
		t.Errorf("heard %q", heard)
	}
}

// listenSoon is listen on a bus that is just being started.
func listenSoon(t *testing.T) *listener {
	t.Helper()
	eventually(t, 5*time.Second, "the bus is back", func() bool {
		conn, err := dbus.ConnectSystemBus()
		if err == nil {
			err = errors.Join(conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err, conn.Close())
		}
		return err == nil
	})
	return listen(t)
}
