package twin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// heard is what somebody has been told, a line for each event.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (l *heard) add(words ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(fmt.Sprintln(words...)))
}

func (l *heard) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}

// has reports whether there is a line, once for each time it is given.
func (l *heard) has(line string) bool {
	for _, its := range l.all() {
		if its == line {
			return true
		}
	}
	return false
}

// event is the line for an event: what everybody on the bus is told of it.
func event(e interfaces.Event) []any {
	words := []any{e.Kind}
	if e.ID != nil {
		words = append(words, *e.ID)
	}
	if e.Sidecar != nil {
		words = append(words, e.Sidecar.Runtime.State)
	}
	return words
}

// TestTwinEvents has the same events told by the core, on varlink, and as signals.
func TestTwinEvents(t *testing.T) {
	s := newSuite(t)
	h := newHost(t, s.set)
	signals, objects := hearSignals(t, s)
	h.launched(t, pocketed("1"))
	serveBus(t, s, h)
	direct, varlink := &heard{}, &heard{}
	watch(t, h, direct, varlink)
	synchronized := "synchronized"
	for _, l := range []*heard{direct, varlink} {
		eventually(t, "the state is told", func() bool { return l.has(synchronized) })
	}
	added := "InterfacesAdded " + other.String() + " ready"
	eventually(t, "the state is told on the bus", func() bool { return objects.has(added) })
	before := len(signals.all())

	live(t, h, direct)
	for _, l := range []*heard{varlink, signals} {
		eventually(t, "the end is told", func() bool { return l.has("stopped " + other.String()) })
	}
	eventually(t, "the object is gone", func() bool { return objects.has("InterfacesRemoved " + other.String()) })
	if d := cmp.Diff(direct.all(), varlink.all()); d != "" {
		t.Errorf("Monitor (-direct +varlink):\n%s", d)
	}
	changes := direct.all()
	for i, line := range changes {
		if line == synchronized {
			changes = changes[i+1:]
			break
		}
	}
	if d := cmp.Diff(changes, signals.all()[before:]); d != "" {
		t.Errorf("signals (-direct +bus):\n%s", d)
	}
	checkObjects(t, objects.all(), changes)
}

// live has every kind of thing happen to a sidecar, each after the one before has been
// told.
func live(t *testing.T, h *host, told *heard) {
	t.Helper()
	id := here.String()
	count := func() int { return len(told.all()) }
	step := func(what string, want string, do func()) {
		before := count()
		do()
		eventually(t, what, func() bool {
			lines := told.all()
			return len(lines) > before && lines[len(lines)-1] == want
		})
	}
	step("launch", "ready "+id+" ready", func() { h.launched(t, dnsmasq()) })
	step("another process", "changed "+id+" ready", func() {
		h.units.Update(here.Unit(), func(u *systemd.Unit) { u.StatusText = launcher.FormatStatus(payload+1, "") })
	})
	step("replace", "ready "+id+" ready", func() { h.launched(t, dnsmasq()) })
	step("wait for the restart", "restarting "+id+" restarting", func() {
		h.units.Update(here.Unit(), func(u *systemd.Unit) { u.ActiveState, u.SubState = "activating", "auto-restart" })
	})
	step("restart", "ready "+id+" ready", func() {
		h.units.Update(here.Unit(), func(u *systemd.Unit) {
			u.ActiveState, u.SubState, u.NRestarts = "active", "running", 1
			u.InvocationID = "0123456789abcdef0123456789abcdef"
		})
	})
	step("exit", "failed "+id+" failed", func() { h.units.Exit(here.Unit(), 3) })
	step("launch again", "ready "+id+" ready", func() { h.launched(t, dnsmasq()) })
	for _, id := range []interfaces.ID{here, other} {
		step("stop", "stopped "+id.String(), func() {
			_, err := h.core.Stop(t.Context(), service.Caller{PIDFD: -1}, interfaces.StopParameters{ID: id.String()})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// watch hears the core and varlink until the test ends.
func watch(t *testing.T, h *host, direct, varlink *heard) {
	t.Helper()
	c, err := client.New(relay(t, nobody, listen(t, h, operator), pass))
	if err != nil {
		t.Fatal(err)
	}
	h.polkit.answer = operator.answer
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = h.core.Watch(ctx, service.Caller{PIDFD: -1}, interfaces.MonitorParameters{}, func(e interfaces.Event) error {
			direct.add(event(e)...)
			return nil
		})
	})
	watching.Go(func() {
		for e, err := range c.Monitor(ctx, interfaces.MonitorParameters{}) {
			if err == nil {
				varlink.add(event(e)...)
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
}

// hearSignals hears the bus as nobody: the manager's signals in the form of events,
// and the object manager's.
func hearSignals(t *testing.T, s *suite) (events, objects *heard) {
	t.Helper()
	conn := connect(t, s, nobody)
	for _, iface := range []string{interfaces.ManagerInterface, "org.freedesktop.DBus.ObjectManager"} {
		if err := conn.AddMatchSignal(godbus.WithMatchInterface(iface)); err != nil {
			t.Fatal(err)
		}
	}
	incoming := make(chan *godbus.Signal, 1000)
	conn.Signal(incoming)
	events, objects = &heard{}, &heard{}
	go func() {
		for signal := range incoming {
			member := signal.Name[strings.LastIndex(signal.Name, ".")+1:]
			switch member {
			case "InterfacesAdded":
				properties, _ := signal.Body[1].(map[string]options)
				its := properties[interfaces.SidecarInterface]
				objects.add(member, its["Id"].Value(), its["State"].Value())
			case "InterfacesRemoved":
				path, _ := signal.Body[0].(godbus.ObjectPath)
				id, _ := interfaces.ParsePath(string(path))
				objects.add(member, id)
			default:
				state, _ := signal.Body[2].(string)
				events.add(append([]any{strings.ToLower(member), signal.Body[0]}, words(state)...)...)
			}
		}
	}()
	return events, objects
}

// words is a word, or none.
func words(word string) []any {
	if word == "" {
		return nil
	}
	return []any{word}
}

// checkObjects holds the object manager's signals to the lives that the events tell.
func checkObjects(t *testing.T, objects, events []string) {
	t.Helper()
	want := []string{"InterfacesAdded " + other.String() + " ready"}
	there := map[string]bool{other.String(): true}
	for _, line := range events {
		field := strings.Fields(line)
		switch {
		case field[0] == "stopped":
			want = append(want, "InterfacesRemoved "+field[1])
			delete(there, field[1])
		case !there[field[1]]:
			want = append(want, "InterfacesAdded "+field[1]+" "+field[2])
			there[field[1]] = true
		}
	}
	if d := cmp.Diff(want, objects); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
}
