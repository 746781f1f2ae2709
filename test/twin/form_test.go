package twin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// TestTwinForm has calls that are no calls of the contract. Each transport has its own
// types, so that the reasons are its own; but the parameter is the same, polkit is
// not asked, and the journal has nothing.
func TestTwinForm(t *testing.T) {
	s := newSuite(t)
	for name, c := range map[string]struct {
		method     string
		positional []any
		options    map[string]any // by the names of varlink
		want       string         // the parameter
	}{
		"unknown option":     {"Launch", []any{"dnsmasq", []string{}}, map[string]any{"privileged": true}, "privileged"},
		"wrong type":         {"Launch", []any{"dnsmasq", []string{}}, map[string]any{"timeoutUSec": "5s"}, "timeout-usec"},
		"no mode":            {"Explain", []any{"dnsmasq", []string{}}, map[string]any{"mode": true}, "mode"},
		"unknown selector":   {"List", nil, map[string]any{"state": "ready"}, "state"},
		"selector of a type": {"List", nil, map[string]any{"networkNamespace": int64(7)}, "network-namespace"},
		"for how long":       {"Stop", []any{here.String()}, map[string]any{"timeoutUSec": 1.5}, "timeout-usec"},
		"how many lines":     {"ReadLog", nil, map[string]any{"lines": "all"}, "lines"},
		"of nobody":          {"ListProfiles", nil, map[string]any{"agent": []string{"a"}}, "agent"},
	} {
		t.Run(name, func(t *testing.T) {
			onBus, overWire := map[string]godbus.Variant{}, map[string]any{}
			for i, parameter := range positional[c.method] {
				overWire[parameter] = c.positional[i]
			}
			for option, value := range c.options {
				overWire[option] = value
				onBus[dict.Option(option)] = godbus.MakeVariant(value)
			}
			h := newHost(t, s.set)
			path := listen(t, h, operator)
			serveBus(t, s, h)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, varlinkErr := exchangeAs(t, path, c.method, overWire)
			_, busErr := send(ctx, connect(t, s, nobody), message{
				path: interfaces.ManagerPath, iface: interfaces.ManagerInterface, member: c.method,
				body: append(c.positional, onBus),
			})
			for transport, err := range map[string]error{"varlink": varlinkErr, "bus": busErr} {
				var invalid *interfaces.InvalidParameterError
				if !errors.As(err, &invalid) || dict.Option(invalid.Parameter) != c.want || invalid.Reason == "" {
					t.Errorf("%s: %v, want a reason against %s", transport, err, c.want)
				}
			}
			if d, q := h.journal.take(), h.polkit.take(); len(d) != 0 || len(q) != 0 {
				t.Errorf("the journal has %v, polkit was asked %v", d, q)
			}
		})
	}
}

// exchangeAs makes a call on a socket as nobody.
func exchangeAs(t *testing.T, path, method string, parameters map[string]any) (any, error) {
	t.Helper()
	conn, err := dialAs(nobody, path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return exchange(conn, request{method, parameters})
}

// TestTwinUnknownMethod has a method that is none.
func TestTwinUnknownMethod(t *testing.T) {
	s := newSuite(t)
	h := newHost(t, s.set)
	_, err := exchangeAs(t, listen(t, h, root), "Destroy", map[string]any{})
	if !errors.Is(err, interfaces.ErrMethodNotFound) {
		t.Errorf("varlink: %v", err)
	}
	serveBus(t, s, h)
	var failed godbus.Error
	object := connect(t, s, 0).Object(interfaces.BusName, interfaces.ManagerPath)
	err = object.Call(interfaces.ManagerInterface+".Destroy", 0).Err
	row, _, _ := interfaces.ToWire(interfaces.ErrMethodNotFound)
	if !errors.As(err, &failed) || failed.Name != row.DBus {
		t.Errorf("bus: %v, want %s", err, row.DBus)
	}
	err = connect(t, s, nobody).Object(interfaces.BusName, interfaces.ManagerPath).Call(interfaces.ManagerInterface+".Destroy", 0).Err
	if !errors.As(err, &failed) || failed.Name != "org.freedesktop.DBus.Error.AccessDenied" {
		t.Errorf("bus, as nobody: %v; want the bus's policy to refuse it", err)
	}
}

// TestTwinDefect has a method panic: all learn that it was the host's fault, and
// nothing of how.
func TestTwinDefect(t *testing.T) {
	s := newSuite(t)
	panicking := func(operation, _ string) error {
		if operation == "Get" {
			panic("a secret")
		}
		return nil
	}
	var first *failure
	for _, tr := range transports()[1:] {
		t.Run(tr.name, func(t *testing.T) {
			h := newHost(t, s.set)
			call := tr.open(t, s, h, root)
			h.broken.Store(&panicking)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := call(ctx, request{"Signal", interfaces.SignalParameters{ID: here.String(), Signal: "SIGHUP"}})
			got := failureOf(err)
			if first == nil {
				first = got
			}
			if d := cmp.Diff(first, got); d != "" || nameOf(got) != "HostFailure" || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v (-varlink +it)\n%s", err, d)
			}
		})
	}
}
