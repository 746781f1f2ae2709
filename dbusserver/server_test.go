package dbusserver

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

func TestDBusComesBackWithTheBus(t *testing.T) {
	t.Parallel()
	core := newBlocking()
	b := startBus(t, core, nil)
	receive(t, b.owned, "the name")
	b.send(stopOf(":1.1000"))
	receive(t, core.begun, "the call")
	b.disconnect()
	if err := receive(t, core.ended, "the call has ended"); err == nil {
		t.Error("the call went on after the bus")
	}
	receive(t, b.owned, "the name again")
	close(core.finish)
	if body, failure := b.call(stopOf(":1.1000")); failure != "" {
		t.Error(failure, body)
	}
}

// TestDBusComesBackWhileACallGoesOn has one that does not end with its caller, as the
// stop of a unit does not: the others must not wait for it.
func TestDBusComesBackWhileACallGoesOn(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	b := startBus(t, &fakeCore{stop: func(context.Context, service.Caller, interfaces.StopParameters) (interfaces.StopReply, error) {
		close(begun)
		<-finish
		return interfaces.StopReply{}, nil
	}}, nil)
	t.Cleanup(func() { close(finish) }) // before the server ends
	receive(t, b.owned, "the name")
	b.send(stopOf(":1.1000"))
	b.within(begun, "the call has begun")
	before := time.Now()
	b.disconnect()
	receive(t, b.owned, "the name again")
	if took := time.Since(before); took > endTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// TestDBusEndsWhileItConnects has a bus that does not answer when the server is told to
// end. Run must return no error, which would make the daemon fail.
func TestDBusEndsWhileItConnects(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	asked := make(chan struct{}, 1)
	b := startBus(t, &fakeCore{}, func(_ *Config, b *memoryBus) {
		b.answer = func(_ *client, m *godbus.Message) bool {
			if m.Headers[godbus.FieldMember].Value() != "RequestName" || !silent.Load() {
				return false
			}
			asked <- struct{}{}
			return true
		}
	})
	silent.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := New(Config{Core: &fakeCore{}, Address: b.address, Logger: b.server.config.Logger, Subscribe: b.server.config.Subscribe})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	receive(t, asked, "it asks for the name")
	cancel()
	if err := receive(t, ended, "the end"); err != nil {
		t.Error(err)
	}
}

// TestDBusWaitsForTheName has another owner for a while.
func TestDBusWaitsForTheName(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	b := startBus(t, &fakeCore{}, func(_ *Config, b *memoryBus) {
		b.answer = func(c *client, m *godbus.Message) bool {
			if m.Headers[godbus.FieldMember].Value() != "RequestName" || tries.Add(1) > 2 {
				return false
			}
			c.reply(m, uint32(godbus.RequestNameReplyExists))
			return true
		}
	})
	if body, failure := b.call(pingOf(":1.0")); failure != "" || tries.Load() != 3 {
		t.Error(failure, body, tries.Load())
	}
}

func TestDBusEndsWhenTheNameIsLost(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{}, nil)
	ended := make(chan error, 1)
	// Not startBus's server, which may end in any way.
	s := New(Config{Core: &fakeCore{}, Address: b.address, Logger: b.server.config.Logger, Subscribe: b.server.config.Subscribe})
	go func() { ended <- s.Run(t.Context()) }()
	b.within(s.Ready(), "the second server")
	b.emit(bus.Name, "NameLost", interfaces.BusName)
	if err := receive(t, ended, "the end"); !errors.Is(err, errNameLost) {
		t.Errorf("ended with %v", err)
	}
}

// TestDBusLetsCallsEnd ends the server while a call is under way, and while new ones
// come.
func TestDBusLetsCallsEnd(t *testing.T) {
	t.Parallel()
	core := newBlocking()
	b := startBus(t, &fakeCore{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := New(Config{Core: core, Address: b.address, Logger: b.server.config.Logger, Subscribe: b.server.config.Subscribe})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.within(s.Ready(), "the second server")
	answer := b.send(stopOf(":1.7"))
	receive(t, core.begun, "the call")
	cancel()
	b.eventually("the name is given back", func() bool { return b.count("ReleaseName") == 1 })
	if body, failure := b.call(pingOf(":1.8")); failure != "io.tripleo.Sidecar1.Error.Overloaded" {
		t.Error("a new call:", failure, body)
	}
	select {
	case err := <-ended:
		t.Fatal("ended before the call:", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(core.finish)
	if body, failure := b.take(answer); failure != "" {
		t.Error(failure, body)
	}
	if err := receive(t, ended, "the end"); err != nil {
		t.Error(err)
	}
}

func TestDBusProperties(t *testing.T) {
	t.Parallel()
	here := aSidecar(anID)
	b := startBus(t, listing(here), nil)
	side := string(pathOf(anID))
	get := func(path, name string) ([]any, string) {
		return b.call(message{sender: ":1.0", path: path, iface: propertiesInterface, member: "Get", body: []any{interfaces.SidecarInterface, name}})
	}
	if body, failure := get(side, "State"); failure != "" || body[0].(godbus.Variant).Value() != "ready" {
		t.Error(failure, body)
	}
	if body, failure := get(side, "ExitCode"); failure != generic+"UnknownProperty" || body[0] != "ExitCode has no value now" {
		t.Error(failure, body)
	}
	if body, failure := get(string(pathOf(anotherID)), "State"); failure != "io.tripleo.Sidecar1.Error.NoSuchSidecar" {
		t.Error(failure, body)
	}
	for _, iface := range []string{"", interfaces.SidecarInterface} {
		body, failure := b.call(message{sender: ":1.0", path: side, iface: propertiesInterface, member: "GetAll", body: []any{iface}})
		if failure != "" {
			t.Fatal(failure, body)
		}
		diff(t, "all", here, decoded[interfaces.Sidecar](t, body[0]))
	}
	for path, iface := range map[string]string{side: peerInterface, interfaces.ManagerPath: managerInterface} {
		body, failure := b.call(message{sender: ":1.0", path: path, iface: propertiesInterface, member: "GetAll", body: []any{iface}})
		if failure != "" || len(body[0].(options)) != 0 {
			t.Error(failure, body)
		}
	}
}

// TestDBusVersion has the version told to everybody, without the core.
func TestDBusVersion(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{}, func(c *Config, _ *memoryBus) { c.Version = "1.2.3" })
	for _, iface := range []string{"", interfaces.ManagerInterface} {
		body, failure := b.call(message{sender: ":1.1000", iface: propertiesInterface, member: "GetAll", body: []any{iface}})
		if failure != "" || body[0].(options)["Version"].Value() != "1.2.3" || len(body[0].(options)) != 1 {
			t.Error(failure, body)
		}
	}
	body, failure := b.call(message{sender: ":1.1000", iface: propertiesInterface, member: "Get", body: []any{interfaces.ManagerInterface, "Version"}})
	if failure != "" || body[0].(godbus.Variant).Value() != "1.2.3" {
		t.Error(failure, body)
	}
}

func TestDBusManagedObjects(t *testing.T) {
	t.Parallel()
	ask := message{sender: ":1.0", iface: managerInterface, member: "GetManagedObjects"}
	type objects = map[godbus.ObjectPath]map[string]map[string]godbus.Variant
	body, failure := startBus(t, listing(aSidecar(anID), aSidecar(anotherID)), nil).call(ask)
	if failure != "" {
		t.Fatal(failure, body)
	}
	all := body[0].(objects)
	diff(t, "another", aSidecar(anotherID), decoded[interfaces.Sidecar](t, all[pathOf(anotherID)][interfaces.SidecarInterface]))
	if len(all) != 2 {
		t.Errorf("%d objects", len(all))
	}
	body, failure = startBus(t, listing(), nil).call(ask)
	if failure != "" || len(body[0].(objects)) != 0 {
		t.Error("none:", failure, body)
	}
}

func TestDBusIntrospect(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{}, func(c *Config, _ *memoryBus) {
		c.Subscribe = func() Events { return &script{events: []interfaces.Event{present(aSidecar(anID))}} }
	})
	b.eventually("the sidecar is told", func() bool { return len(b.seen()) > 0 })
	introspect := func(sender, path string) node {
		body, failure := b.call(message{sender: sender, path: path, iface: introspectInterface, member: "Introspect"})
		if failure != "" {
			t.Fatal(failure, body)
		}
		return parse(t, body[0].(string))
	}
	if n := introspect(":1.0", sidecars).Nodes; len(n) != 1 || n[0].Name != "neutron_2ddhcp_2ednsmasq_2e0123456789ab" {
		t.Errorf("root sees %v", n)
	}
	if n := introspect(":1.7", sidecars).Nodes; len(n) != 0 {
		t.Errorf("a stranger sees %v", n)
	}
	diff(t, "a sidecar that is there, and one that is not", introspect(":1.7", string(pathOf(anID))), introspect(":1.7", string(pathOf(anotherID))))
	if n := introspect(":1.7", "/").Nodes; len(n) != 1 || n[0].Name != "io" {
		t.Errorf("below / is %v", n)
	}
}
