package dbusserver

import (
	"context"
	"errors"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
	"tripleo.io/sidecar/service"
)

type options = map[string]godbus.Variant

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// decoded reads a dictionary that was answered.
func decoded[T any](t *testing.T, v any) T {
	t.Helper()
	var out T
	entries, ok := v.(options)
	if !ok {
		t.Fatalf("%T is no dictionary", v)
	}
	if err := dict.Decode(entries, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDBusLaunch(t *testing.T) {
	t.Parallel()
	want := aSidecar(anID)
	standIn := interfaces.StandIn{Adopted: true, PIDFiles: []string{"/a/pid"}}
	var caller service.Caller
	var asked interfaces.LaunchParameters
	b := startBus(t, &fakeCore{launch: func(_ context.Context, c service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
		caller, asked = c, p
		return interfaces.LaunchReply{Sidecar: want, StandIn: &standIn}, nil
	}}, nil)
	body, failure := b.call(message{
		sender: ":1.1000", iface: interfaces.ManagerInterface, member: "Launch", flags: godbus.FlagAllowInteractiveAuthorization,
		body: []any{"dnsmasq", []string{"--no-hosts", ""}, options{
			"agent": godbus.MakeVariant("neutron-dhcp"), "network-namespace": godbus.MakeVariant("qdhcp-1"),
			"mode": godbus.MakeVariant("keep"), "timeout-usec": godbus.MakeVariant(uint64(5000000)),
		}},
	})
	if failure != "" {
		t.Fatal(failure, body)
	}
	diff(t, "caller", service.Caller{UID: 1000, PID: 4711, PIDFD: -1, Sender: ":1.1000"}, caller)
	diff(t, "parameters", interfaces.LaunchParameters{
		Profile: "dnsmasq", Arguments: []string{"--no-hosts", ""}, Agent: pointer("neutron-dhcp"),
		NetworkNamespace: pointer("qdhcp-1"), Mode: pointer(interfaces.ModeKeep), TimeoutUSec: pointer(int64(5000000)),
		AllowInteractiveAuthentication: pointer(true),
	}, asked)
	diff(t, "path", any(pathOf(anID)), body[0])
	diff(t, "sidecar", want, decoded[interfaces.Sidecar](t, body[1]))
	diff(t, "stand-in", standIn, decoded[interfaces.StandIn](t, body[2]))
}

func TestDBusLaunchWithoutOptions(t *testing.T) {
	t.Parallel()
	var asked interfaces.LaunchParameters
	b := startBus(t, &fakeCore{launch: func(_ context.Context, _ service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
		asked = p
		return interfaces.LaunchReply{Sidecar: aSidecar(anID)}, nil
	}}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "Launch", body: []any{"p", []string{}, options{}}})
	if failure != "" || len(body[2].(options)) != 0 {
		t.Errorf("%s %v", failure, body)
	}
	diff(t, "parameters", interfaces.LaunchParameters{Profile: "p", Arguments: []string{}}, asked)
}

func TestDBusExplain(t *testing.T) {
	t.Parallel()
	want := interfaces.ExplainReply{
		ID: anID, Unit: "u", Image: "i", Command: []string{"c"}, Rules: []string{"r"},
		Properties:    []interfaces.UnitProperty{{Name: "Type", Value: "notify"}},
		EngineCommand: []string{"/usr/bin/podman", "run"}, Document: []interfaces.UnitProperty{{Name: "user", Value: "1"}},
	}
	b := startBus(t, &fakeCore{explain: func(p interfaces.LaunchParameters) (interfaces.ExplainReply, error) {
		return want, nil
	}}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "Explain", body: []any{"p", []string{}, options{}}})
	if failure != "" {
		t.Fatal(failure, body)
	}
	diff(t, "explanation", want, decoded[interfaces.ExplainReply](t, body[0]))
}

func TestDBusList(t *testing.T) {
	t.Parallel()
	var asked interfaces.ListParameters
	b := startBus(t, &fakeCore{list: func(_ service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
		asked = p
		return []interfaces.Sidecar{aSidecar(anID), aSidecar(anotherID)}, nil
	}}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "List", body: []any{options{"agent": godbus.MakeVariant("a")}}})
	if failure != "" {
		t.Fatal(failure, body)
	}
	diff(t, "selectors", interfaces.ListParameters{Agent: pointer("a")}, asked)
	rows := body[0].([][]any)
	diff(t, "paths", []any{pathOf(anID), pathOf(anotherID)}, []any{rows[0][0], rows[1][0]})
	diff(t, "second", aSidecar(anotherID), decoded[interfaces.Sidecar](t, rows[1][1]))
}

func TestDBusListProfiles(t *testing.T) {
	t.Parallel()
	want := interfaces.Profile{Name: "p", Description: "d", Image: "i", Command: []string{"c"}, Instance: "-f", Arguments: []string{"-f {path:ro}"}}
	b := startBus(t, &fakeCore{profiles: func(p interfaces.ListProfilesParameters) ([]interfaces.Profile, error) {
		if p.Agent == nil || *p.Agent != "a" {
			return nil, &interfaces.NoSuchAgentError{Agent: "?"}
		}
		return []interfaces.Profile{want}, nil
	}}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "ListProfiles", body: []any{options{"agent": godbus.MakeVariant("a")}}})
	if failure != "" {
		t.Fatal(failure, body)
	}
	diff(t, "profile", want, decoded[interfaces.Profile](t, body[0].([]map[string]godbus.Variant)[0]))
}

// TestDBusReadLog: entries come together, and D-Bus cannot follow.
func TestDBusReadLog(t *testing.T) {
	t.Parallel()
	want := []interfaces.LogEntry{{ID: anID, TimeUSec: 7, Priority: 3, Message: "one"}, {ID: anID, Systemd: true, ProcessID: pointer(int64(1))}}
	b := startBus(t, &fakeCore{log: func(p interfaces.ReadLogParameters, send func(*interfaces.LogEntry) error) error {
		if p.Lines == nil || *p.Lines != 2 {
			return &interfaces.OverloadedError{}
		}
		return errors.Join(send(&want[0]), send(&want[1]), send(nil))
	}}, nil)
	body, failure := b.call(message{sender: ":1.0", member: "ReadLog", body: []any{options{"lines": godbus.MakeVariant(int32(2))}}})
	if failure != "" {
		t.Fatal(failure, body)
	}
	for i, row := range body[0].([]map[string]godbus.Variant) {
		diff(t, "entry", want[i], decoded[interfaces.LogEntry](t, row))
	}
	if _, failure = b.call(message{sender: ":1.0", member: "ReadLog", body: []any{options{"follow": godbus.MakeVariant(true)}}}); failure != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Errorf("follow: %s", failure)
	}
}

// TestDBusStopAndSignal has both through the manager and through the sidecar's own
// object.
func TestDBusStopAndSignal(t *testing.T) {
	t.Parallel()
	var stopped []interfaces.StopParameters
	var sent []interfaces.SignalParameters
	b := startBus(t, &fakeCore{
		stop: func(_ context.Context, _ service.Caller, p interfaces.StopParameters) (interfaces.StopReply, error) {
			stopped = append(stopped, p)
			return interfaces.StopReply{ExitCode: pointer(int64(143)), ExitSignal: pointer("SIGTERM")}, nil
		},
		signal: func(_ service.Caller, p interfaces.SignalParameters) error {
			sent = append(sent, p)
			return nil
		},
	}, nil)
	path := string(pathOf(anID))
	timeout := options{"timeout-usec": godbus.MakeVariant(uint32(7))}
	for _, m := range []message{
		{sender: ":1.0", member: "Stop", body: []any{anID, timeout}},
		{sender: ":1.0", member: "Stop", path: path, iface: interfaces.SidecarInterface, body: []any{timeout}},
	} {
		body, failure := b.call(m)
		if failure != "" {
			t.Fatal(failure, body)
		}
		diff(t, "exit", interfaces.StopReply{ExitCode: pointer(int64(143)), ExitSignal: pointer("SIGTERM")}, decoded[interfaces.StopReply](t, body[0]))
	}
	for _, m := range []message{
		{sender: ":1.0", member: "Signal", body: []any{anID, "SIGHUP"}},
		{sender: ":1.0", member: "Signal", path: path, body: []any{"SIGHUP"}},
	} {
		if body, failure := b.call(m); failure != "" || len(body) != 0 {
			t.Error(failure, body)
		}
	}
	stop := interfaces.StopParameters{ID: anID, TimeoutUSec: pointer(int64(7))}
	diff(t, "stopped", []interfaces.StopParameters{stop, stop}, stopped)
	signal := interfaces.SignalParameters{ID: anID, Signal: "SIGHUP"}
	diff(t, "sent", []interfaces.SignalParameters{signal, signal}, sent)
}

// TestDBusErrors holds every error of the interface to its name and parameters.
func TestDBusErrors(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		err := row.Err
		if row.New != nil {
			err = row.New()
		}
		name, body, known := onWire(err)
		if name != row.DBus || !known {
			t.Errorf("%v: %s, %v", err, name, known)
		}
		if text, ok := body[0].(string); !ok || text == "" {
			t.Errorf("%v: the text is %v", err, body[0])
		}
		if row.New != nil {
			got := row.New()
			if err := dict.Decode(body[1].(options), got); err != nil {
				t.Error(err)
			}
		}
	}
	name, body, known := onWire(errors.New("the secret is 7"))
	if name != "io.tripleo.Sidecar1.Error.HostFailure" || known || body[0] != interfaces.Unexpected().Error() {
		t.Errorf("an unknown error: %s, %v, %v", name, body, known)
	}
}

func TestDBusErrorsOverTheBus(t *testing.T) {
	t.Parallel()
	core := &fakeCore{
		launch: func(context.Context, service.Caller, interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
			return interfaces.LaunchReply{}, &interfaces.LaunchFailedError{ExitCode: pointer(int64(2)), Output: []string{"bad \xff", "line"}}
		},
		stop: func(context.Context, service.Caller, interfaces.StopParameters) (interfaces.StopReply, error) {
			return interfaces.StopReply{}, &interfaces.InvalidParameterError{Parameter: "timeoutUSec", Reason: "too long"}
		},
	}
	b := startBus(t, core, nil)
	body, failure := b.call(message{sender: ":1.0", member: "Launch", body: []any{"p", []string{}, options{}}})
	diff(t, "name", "io.tripleo.Sidecar1.Error.LaunchFailed", failure)
	diff(t, "parameters", interfaces.LaunchFailedError{ExitCode: pointer(int64(2)), Output: []string{"bad \uFFFD", "line"}},
		decoded[interfaces.LaunchFailedError](t, body[1]))
	body, failure = b.call(message{sender: ":1.0", member: "Stop", body: []any{anID, options{}}})
	diff(t, "name", "org.freedesktop.DBus.Error.InvalidArgs", failure)
	diff(t, "text", any("invalid parameter timeout-usec: too long"), body[0])
	diff(t, "parameter", "timeout-usec", decoded[interfaces.InvalidParameterError](t, body[1]).Parameter)
}

// TestDBusHostileLookersTakeTurns has lists wait while others are being written, but not
// root's lists, and no other calls.
func TestDBusHostileLookersTakeTurns(t *testing.T) {
	t.Parallel()
	core := listing(aSidecar(anID))
	b := startBus(t, core, func(c *Config, _ *memoryBus) { c.Limits.LargeAnswers = 1 })
	b.server.answers <- struct{}{}
	list := message{sender: ":1.1000", member: "List", body: []any{options{}}}
	objects := message{sender: ":1.1000", iface: managerInterface, member: "GetManagedObjects"}
	waiting := []<-chan *godbus.Message{b.send(list), b.send(objects)}
	gone := list
	gone.sender = ":1.1001"
	b.send(gone)
	root := list
	root.sender = ":1.0"
	for _, m := range []message{pingOf(":1.1000"), pingOf(":1.1001"), root} {
		if body, failure := b.call(m); failure != "" {
			t.Error(failure, body)
		}
	}
	b.emit(bus.Name, "NameOwnerChanged", ":1.1001", ":1.1001", "")
	for _, answer := range waiting {
		select {
		case m := <-answer:
			t.Error("answered too early:", m.Body)
		default:
		}
	}
	<-b.server.answers
	for range 3 { // a turn that is over makes room for the next
		for _, answer := range waiting {
			if body, failure := b.take(answer); failure != "" {
				t.Error(failure, body)
			}
		}
		waiting = []<-chan *godbus.Message{b.send(list), b.send(objects)}
	}
}
