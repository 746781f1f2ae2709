package twin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/dbusserver"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// options is a dictionary on D-Bus.
type options = map[string]godbus.Variant

// serveBus has the core on the bus, under its name, until the test ends.
func serveBus(t *testing.T, s *suite, h *host) {
	t.Helper()
	server := dbusserver.New(dbusserver.Config{
		Core: h.core, Subscribe: func() dbusserver.Events { return h.core.Events() },
		Address: s.bus, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server on the bus: %v", err)
		}
	})
	select {
	case <-server.Ready():
	case <-time.After(time.Minute):
		t.Fatal("not on the bus within a minute")
	}
}

// connect joins the bus as a user.
func connect(t *testing.T, s *suite, uid uint32) *godbus.Conn {
	t.Helper()
	socket, err := dialAs(uid, strings.TrimPrefix(s.bus, "unix:path="))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := godbus.NewConn(socket, godbus.WithSignalHandler(godbus.NewSequentialSignalHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.FormatUint(uint64(uid), 10))}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Hello(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// message is a call of a method of one of our objects.
type message struct {
	path, iface, member string
	interactive         bool
	body                []any
}

// send makes a call and returns the body of the answer, or the contract's error.
func send(ctx context.Context, conn *godbus.Conn, m message) ([]any, error) {
	call := &godbus.Message{Type: godbus.TypeMethodCall, Body: m.body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(interfaces.BusName),
		godbus.FieldPath:        godbus.MakeVariant(godbus.ObjectPath(m.path)),
		godbus.FieldInterface:   godbus.MakeVariant(m.iface),
		godbus.FieldMember:      godbus.MakeVariant(m.member),
	}}
	if m.interactive { // which godbus's own way of calling leaves out
		call.Flags = godbus.FlagAllowInteractiveAuthorization
	}
	if len(m.body) > 0 {
		call.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(m.body...))
	}
	select {
	case reply := <-conn.SendWithContext(ctx, call, make(chan *godbus.Call, 1)).Done:
		var failed godbus.Error
		if errors.As(reply.Err, &failed) {
			return nil, fromBus(failed)
		}
		return reply.Body, reply.Err
	case <-ctx.Done():
		conn.Close() // hang up, as on a socket
		return nil, ctx.Err()
	}
}

// fromBus is the error of the contract that an error of D-Bus stands for. Its text
// must say what the parameters do.
func fromBus(failed godbus.Error) error {
	var parameters options
	if len(failed.Body) == 2 {
		parameters, _ = failed.Body[1].(options)
	}
	err, known := interfaces.FromDBus(failed.Name, func(d interfaces.Detail) error { return dict.Decode(parameters, d) })
	switch {
	case !known:
		return fmt.Errorf("unknown error %s: %v", failed.Name, failed.Body)
	case failed.Body[0] != err.Error():
		return fmt.Errorf("%s has the text %q, and its parameters say %q", failed.Name, failed.Body[0], err)
	}
	return err
}

// positional are the parameters that are no options, in their order.
var positional = map[string][]string{
	"Launch": {"profile", "arguments"}, "Explain": {"profile", "arguments"},
	"Stop": {"id"}, "Signal": {"id", "signal"},
	"CreateNamespace": {"networkNamespace"}, "DeleteNamespace": {"networkNamespace"},
}

// asBody writes parameters as the body of a call of the manager.
func asBody(r request) []any {
	values := dict.Encode(r.parameters)
	fields := dict.Fields(reflect.TypeOf(r.parameters))
	var body []any
	for _, name := range positional[r.method] {
		i := slices.IndexFunc(fields, func(f dict.Field) bool { return f.Name == name })
		body = append(body, values[fields[i].Key].Value())
	}
	if r.method == "Signal" { // it has no options
		return body
	}
	return append(body, dict.EncodeOptions(r.parameters, "allowInteractiveAuthentication"))
}

// overBus calls the manager.
func overBus(t *testing.T, s *suite, h *host, who caller) call {
	serveBus(t, s, h)
	conn := connect(t, s, who.uid)
	h.sender = conn.Names()[0]
	return func(ctx context.Context, r request) (any, error) {
		if r.method == "Monitor" || follows(r) {
			return nil, errNotOffered // its signals go to everybody: see TestTwinEvents
		}
		body, err := send(ctx, conn, message{
			interfaces.ManagerPath, interfaces.ManagerInterface, r.method, isInteractive(r.parameters), asBody(r),
		})
		if err != nil {
			return nil, err
		}
		return fromBody(r.method, body)
	}
}

// fromBody reads the manager's answers.
func fromBody(method string, body []any) (any, error) {
	switch method {
	case "Launch":
		return launched(body)
	case "Explain":
		return decoded[interfaces.ExplainReply](body[0])
	case "Stop":
		return decoded[interfaces.StopReply](body[0])
	case "Signal":
		return interfaces.SignalReply{}, nil
	case "CreateNamespace":
		return interfaces.CreateNamespaceReply{}, nil
	case "DeleteNamespace":
		return interfaces.DeleteNamespaceReply{}, nil
	case "List":
		rows, _ := body[0].([][]any)
		return collect(rows, func(row []any) (interfaces.Sidecar, error) {
			path, _ := row[0].(godbus.ObjectPath)
			return sidecarAt(path, row[1])
		})
	case "ListProfiles":
		rows, _ := body[0].([]options)
		return collect(rows, func(row options) (interfaces.Profile, error) { return decoded[interfaces.Profile](row) })
	case "ReadLog":
		rows, _ := body[0].([]options)
		entries := []interfaces.LogEntry{}
		for _, row := range rows {
			e, err := decoded[interfaces.LogEntry](row)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
		}
		return &entries, nil
	}
	return nil, errNotOffered
}

func launched(body []any) (any, error) {
	path, _ := body[0].(godbus.ObjectPath)
	sidecar, err := sidecarAt(path, body[1])
	reply := interfaces.LaunchReply{Sidecar: sidecar}
	if standIn, _ := body[2].(options); err == nil && len(standIn) > 0 {
		var s interfaces.StandIn
		s, err = decoded[interfaces.StandIn](standIn)
		reply.StandIn = &s
	}
	return answered(reply, err)
}

// sidecarAt reads the properties of the object at the path, and checks that its ID is the path's.
func sidecarAt(path godbus.ObjectPath, properties any) (interfaces.Sidecar, error) {
	sidecar, err := decoded[interfaces.Sidecar](properties)
	if id, ok := interfaces.ParsePath(string(path)); err == nil && (!ok || id.String() != sidecar.ID) {
		err = fmt.Errorf("%s is at %s", sidecar.ID, path)
	}
	return sidecar, err
}

func decoded[T any](dictionary any) (T, error) {
	var v T
	entries, ok := dictionary.(options)
	if !ok {
		return v, fmt.Errorf("a %T instead of a dictionary", dictionary)
	}
	return v, dict.Decode(entries, &v)
}

func collect[R, T any](rows []R, read func(R) (T, error)) (any, error) {
	var all []T
	for _, row := range rows {
		v, err := read(row)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
