package dbusserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

// TestDBusCallsThatAreWrong never reach the core, which has no methods here. Each is told once.
func TestDBusCallsThatAreWrong(t *testing.T) {
	t.Parallel()
	rejected := make(chan service.Rejection, 1)
	b := startBus(t, &fakeCore{}, func(c *Config, _ *memoryBus) { c.Rejected = func(r service.Rejection) { rejected <- r } })
	const e = "org.freedesktop.DBus.Error."
	side := string(pathOf(anID))
	for name, c := range map[string]struct {
		m       message
		failure string
		text    string // part of it
	}{
		"no such object":     {message{path: "/x", member: "Ping"}, e + "UnknownObject", `no such object: "/x"`},
		"not a sidecar":      {message{path: interfaces.SidecarPrefix + "x", member: "Ping"}, e + "UnknownObject", "no such object"},
		"no such interface":  {message{iface: "io.tripleo.Sidecar1.Sidecar", member: "Stop"}, e + "UnknownInterface", "no such interface here"},
		"no such method":     {message{iface: interfaces.ManagerInterface, member: "Ping"}, e + "UnknownMethod", `no such method here: "Ping"`},
		"varlink's Monitor":  {message{member: "Monitor"}, e + "UnknownMethod", "no such method here"},
		"too few arguments":  {message{member: "Launch", body: []any{"p"}}, e + "InvalidArgs", `Launch takes arguments of type "sasa{sv}", and got "s"`},
		"none":               {message{member: "Stop"}, e + "InvalidArgs", `Stop takes arguments of type "sa{sv}", and got ""`},
		"too many":           {message{iface: peerInterface, member: "Ping", body: []any{"x"}}, e + "InvalidArgs", "Ping takes no arguments"},
		"other types":        {message{member: "Signal", body: []any{anID, uint32(9)}}, e + "InvalidArgs", `"ss", and got "su"`},
		"unknown option":     {message{member: "Stop", body: []any{anID, options{"timeout": godbus.MakeVariant(uint64(1))}}}, e + "InvalidArgs", "invalid parameter timeout: no such option; there are: timeout-usec"},
		"option's type":      {message{member: "Stop", body: []any{anID, options{"timeout-usec": godbus.MakeVariant("5s")}}}, e + "InvalidArgs", "invalid parameter timeout-usec: is of type s, must be t"},
		"selector":           {message{member: "List", body: []any{options{"networkNamespace": godbus.MakeVariant("n")}}}, e + "InvalidArgs", "there are: id, agent, profile, network-namespace"},
		"flag as an option":  {message{member: "List", body: []any{options{"allow-interactive-authentication": godbus.MakeVariant(true)}}}, e + "InvalidArgs", "no such option"},
		"no such property":   {message{path: side, iface: propertiesInterface, member: "Get", body: []any{interfaces.SidecarInterface, "state"}}, e + "UnknownProperty", "no such property"},
		"nobody's property":  {message{iface: propertiesInterface, member: "Get", body: []any{interfaces.ManagerInterface, "Id"}}, e + "UnknownProperty", "no such property"},
		"others' properties": {message{path: side, iface: propertiesInterface, member: "GetAll", body: []any{"org.example.X"}}, e + "UnknownInterface", "no such interface"},
		"property set":       {message{path: side, iface: propertiesInterface, member: "Set", body: []any{interfaces.SidecarInterface, "State", godbus.MakeVariant("failed")}}, e + "PropertyReadOnly", "State cannot be set"},
	} {
		c.m.sender = ":1.1000"
		body, failure := b.call(c.m)
		text, _ := body[0].(string)
		if failure != c.failure || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s %q, want %s %q", name, failure, text, c.failure, c.text)
		}
		want := service.RejectedAsUnknown
		if failure == e+"InvalidArgs" {
			want = service.RejectedAsMalformed
		}
		if got := receive(t, rejected, "the rejection"); got != want {
			t.Errorf("%s is counted as %s, want %s", name, got, want)
		}
	}
}

func TestDBusAPanicEndsTheCallOnly(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{signal: func(service.Caller, interfaces.SignalParameters) error { return nil }}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "Stop", body: []any{anID, options{}}})
	if failure != "io.tripleo.Sidecar1.Error.HostFailure" || strings.Contains(body[0].(string), "nil pointer") {
		t.Errorf("%s %v", failure, body)
	}
	if body, failure := b.call(message{sender: ":1.0", member: "Signal", body: []any{anID, "SIGHUP"}}); failure != "" {
		t.Error(failure, body)
	}
}

// TestDBusAPanicOutsideOfTheMethod has one while the answer is sent, which stands for
// all that is done with a call besides.
func TestDBusAPanicOutsideOfTheMethod(t *testing.T) {
	t.Parallel()
	s := New(Config{Core: listing(aSidecar(anID)), Logger: slog.New(slog.DiscardHandler)})
	p := &peer{ctx: t.Context(), caller: service.Caller{UID: 1000}}
	call := incoming{bus.Header{Sender: ":1.1000", Serial: 7}, written(t, binary.LittleEndian, "List", options{})}
	var sent []*godbus.Message
	s.answerTo(p, call, func(m *godbus.Message) {
		if sent = append(sent, m); len(sent) == 1 {
			panic("it cannot be written")
		}
	})
	if len(sent) != 2 || sent[1].Headers[godbus.FieldErrorName].Value() != "io.tripleo.Sidecar1.Error.HostFailure" {
		t.Errorf("sent %v", sent)
	}
	if len(s.answers) != 0 {
		t.Error("its turn is not over")
	}
}

// opened is a call whose header is decoded.
func opened(uid uint32, message []byte) (*call, error) {
	c := &call{caller: service.Caller{UID: uid}, header: bus.Header{Sender: ":1.1", Serial: 1}, done: func() {}}
	return c, c.open(message)
}

// TestDBusOthersSignalsAreNotHeard forges the departure of a caller, and the loss of
// the name.
func TestDBusOthersSignalsAreNotHeard(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	b := startBus(t, &fakeCore{stop: func(ctx context.Context, _ service.Caller, _ interfaces.StopParameters) (interfaces.StopReply, error) {
		close(begun)
		select {
		case <-ctx.Done():
		case <-finish:
		}
		return interfaces.StopReply{}, ctx.Err()
	}}, nil)
	answer := b.send(message{sender: ":1.1000", member: "Stop", body: []any{anID, options{}}})
	b.within(begun, "the call has begun")
	for _, sender := range []string{":1.66", ":1.1000", ""} {
		if sender != "" {
			b.emit(sender, "NameOwnerChanged", ":1.1000", ":1.1000", "")
			b.emit(sender, "NameLost", interfaces.BusName)
		}
	}
	b.emit(bus.Name, "NameOwnerChanged", ":1.7", ":1.7", "")
	b.emit(bus.Name, "NameOwnerChanged", uint32(7))
	b.emit(bus.Name, "NameOwnerChanged")
	b.emit(bus.Name, "NameLost", ":1.0")
	if _, failure := b.call(message{sender: ":1.5", iface: peerInterface, member: "Ping"}); failure != "" {
		t.Error("ping:", failure)
	}
	close(finish)
	if body, failure := b.take(answer); failure != "" {
		t.Error(failure, body)
	}
}

// TestDBusMalformedCalls has frames that no bus would pass on.
func TestDBusMalformedCalls(t *testing.T) {
	t.Parallel()
	frame := encoded(t)
	for name, change := range map[string]func(b []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"cut in the head":  func(b []byte) []byte { return b[:20] },
		"cut in the body":  func(b []byte) []byte { return b[:len(b)-3] },
		"no byte order":    func(b []byte) []byte { b[0] = 'x'; return b },
		"a long body":      func(b []byte) []byte { binary.LittleEndian.PutUint32(b[4:], 1<<30); return b },
		"a long header":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[12:], 1<<30); return b },
		"unknown type":     func(b []byte) []byte { b[1] = 77; return b },
		"a long string":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-12:], 1<<31); return b },
		"zeros everywhere": func(b []byte) []byte { clear(b[16:]); return b },
	} {
		c, err := opened(0, change(bytes.Clone(frame)))
		if err == nil {
			err = c.decode()
		}
		if err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func encoded(t testing.TB) []byte {
	t.Helper()
	m := &godbus.Message{
		Type: godbus.TypeMethodCall, Body: []any{"dnsmasq", []string{"--no-hosts"}, options{"agent": godbus.MakeVariant("seven77")}},
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldPath:      godbus.MakeVariant(godbus.ObjectPath(interfaces.ManagerPath)),
			godbus.FieldMember:    godbus.MakeVariant("Launch"),
			godbus.FieldSignature: godbus.MakeVariant(godbus.ParseSignatureMust("sasa{sv}")),
		},
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzDBusCall sends anything through the reader and the dispatcher.
func FuzzDBusCall(f *testing.F) {
	f.Add(encoded(f))
	s := New(Config{Core: &fakeCore{
		launch: func(context.Context, service.Caller, interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
			return interfaces.LaunchReply{}, interfaces.ErrPermissionDenied
		},
	}})
	f.Fuzz(func(t *testing.T, frame []byte) {
		c, err := opened(0, frame)
		if err != nil {
			return
		}
		m, err := s.find(c)
		if err != nil || m.name != "Launch" || c.decode() != nil {
			return
		}
		if _, err := c.launchParameters(); err != nil {
			name, body, known := onWire(err)
			if _, err := sizeOf(failureOf(bus.Header{Sender: ":1.1", Serial: 1}, name, body...)); err != nil || !known {
				t.Errorf("%s %v: %v", name, body, err)
			}
		}
	})
}
