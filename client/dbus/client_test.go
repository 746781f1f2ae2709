package dbus_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus/bustest"
	"tripleo.io/sidecar/internal/dict"
)

const id = "neutron-dhcp.dnsmasq.0123456789ab"

func sidecarWith(id string, state interfaces.SidecarState, pid int64) interfaces.Sidecar {
	return interfaces.Sidecar{
		ID:      id,
		Context: &interfaces.Context{Profile: "dnsmasq", Arguments: []string{"--a", ""}, Agent: "neutron-dhcp", NetworkNamespace: new("qdhcp-1")},
		Runtime: interfaces.Runtime{State: state, Unit: "sidecar-" + id + ".service", Image: "i", ProcessID: &pid},
	}
}

// row is a sidecar as List answers it.
type row struct {
	Path       godbus.ObjectPath
	Properties map[string]godbus.Variant
}

func rows(sidecars ...interfaces.Sidecar) []row {
	all := []row{}
	for _, s := range sidecars {
		all = append(all, row{"/x", dict.Encode(s)})
	}
	return all
}

// methodCase is a call, what of it reaches the service, its answer, and what is made
// of that.
type methodCase struct {
	call  func(context.Context, *dbus.Client) (any, error)
	body  []any
	reply []any
	want  any
}

// methodCases are of every method, by its name on D-Bus.
func methodCases() map[string]methodCase {
	sidecar := sidecarWith(id, interfaces.StateReady, 42)
	explained := interfaces.ExplainReply{ID: id, Unit: "u", Image: "i", Command: []string{"c"}, Rules: []string{}, Properties: []interfaces.UnitProperty{{Name: "Type", Value: "notify"}}, EngineCommand: []string{"e", "c"}, Document: []interfaces.UnitProperty{{Name: "user", Value: "1"}}}
	profile := interfaces.Profile{Name: "dnsmasq", Command: []string{}, Arguments: []string{"--x"}}
	entry := interfaces.LogEntry{ID: id, TimeUSec: 7, Priority: 6, Identifier: "dnsmasq", ProcessID: new(int64(42)), Message: "m"}
	ended := interfaces.StopReply{ExitCode: new(int64(143)), ExitSignal: new("SIGTERM")}
	launch := interfaces.LaunchParameters{Profile: "dnsmasq", Arguments: []string{"--a", "\xff"}, Agent: new("neutron-dhcp"), TimeoutUSec: new(int64(7))}
	options := map[string]godbus.Variant{"agent": godbus.MakeVariant("neutron-dhcp"), "timeout-usec": godbus.MakeVariant(uint64(7))}
	arguments := []string{"--a", "\uFFFD"}
	none := map[string]godbus.Variant{}
	return map[string]methodCase{
		"Launch": {
			func(ctx context.Context, c *dbus.Client) (any, error) { return c.Launch(ctx, launch) },
			[]any{"dnsmasq", arguments, options},
			[]any{godbus.ObjectPath("/x"), dict.Encode(sidecar), none},
			&sidecar,
		},
		"Explain": {
			func(ctx context.Context, c *dbus.Client) (any, error) { return c.Explain(ctx, launch) },
			[]any{"dnsmasq", arguments, options},
			[]any{dict.Encode(explained)},
			&explained,
		},
		"List": {
			func(ctx context.Context, c *dbus.Client) (any, error) {
				return c.List(ctx, interfaces.ListParameters{NetworkNamespace: new("n")})
			},
			[]any{map[string]godbus.Variant{"network-namespace": godbus.MakeVariant("n")}},
			[]any{rows(sidecar)},
			[]interfaces.Sidecar{sidecar},
		},
		"ListProfiles": {
			func(ctx context.Context, c *dbus.Client) (any, error) { return c.ListProfiles(ctx, nil) },
			[]any{none},
			[]any{[]map[string]godbus.Variant{dict.Encode(profile)}},
			[]interfaces.Profile{profile},
		},
		"Stop": {
			func(ctx context.Context, c *dbus.Client) (any, error) {
				return c.Stop(ctx, interfaces.StopParameters{ID: id, TimeoutUSec: new(int64(9))})
			},
			[]any{id, map[string]godbus.Variant{"timeout-usec": godbus.MakeVariant(uint64(9))}},
			[]any{dict.Encode(ended)},
			&ended,
		},
		"ReadLog": {
			func(ctx context.Context, c *dbus.Client) (any, error) {
				var all []interfaces.LogEntry
				for e, err := range c.ReadLog(ctx, interfaces.ReadLogParameters{Lines: new(int64(9)), SinceUSec: new(int64(8)), Follow: new(false)}) {
					if err != nil {
						return nil, err
					}
					all = append(all, e)
				}
				return all, nil
			},
			[]any{map[string]godbus.Variant{"lines": godbus.MakeVariant(int32(9)), "since-usec": godbus.MakeVariant(uint64(8))}},
			[]any{[]map[string]godbus.Variant{dict.Encode(entry)}},
			[]interfaces.LogEntry{entry},
		},
		"Signal": {
			func(ctx context.Context, c *dbus.Client) (any, error) {
				return nil, c.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: "SIGHUP"})
			},
			[]any{id, "SIGHUP"},
			nil, nil,
		},
		"GetAll": {
			func(ctx context.Context, c *dbus.Client) (any, error) { return c.Info(ctx) },
			[]any{interfaces.ManagerInterface},
			[]any{map[string]godbus.Variant{"Version": godbus.MakeVariant("1.2.3")}},
			&client.Info{Product: "sidecar", Version: "1.2.3", Interfaces: []string{interfaces.ManagerInterface}},
		},
	}
}

// TestDBusClientMethods calls every method, once so that a person may be asked.
func TestDBusClientMethods(t *testing.T) {
	t.Parallel()
	for member, c := range methodCases() {
		for _, interactive := range []bool{false, true} {
			c.run(t, member, interactive)
		}
	}
}

func (c methodCase) run(t *testing.T, member string, interactive bool) {
	t.Helper()
	seen := make(chan *bustest.Call, 1)
	f := newFake(t, func(call *bustest.Call) { seen <- call; call.Reply(c.reply...) })
	asking := f.client
	if interactive {
		asking = asking.WithInteractiveAuthentication()
	}
	got, err := c.call(soon(t), asking)
	if err != nil {
		t.Errorf("%s: %v", member, err)
		return
	}
	if d := cmp.Diff(c.want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", member, d)
	}
	call := <-seen
	if d := cmp.Diff(c.body, call.Body, cmp.AllowUnexported(godbus.Variant{}, godbus.Signature{})); d != "" || call.Member != member || flagged(call) != interactive {
		t.Errorf("%s: asked %s, flags %v (-want +got):\n%s", member, call.Member, call.Flags, d)
	}
}

// TestDBusClientDoesNotFollow says so without a call.
func TestDBusClientDoesNotFollow(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *bustest.Call) { t.Errorf("asked for %s", c.Member) })
	for _, err := range f.client.ReadLog(soon(t), interfaces.ReadLogParameters{Follow: new(true)}) {
		if !errors.Is(err, interfaces.ErrInvalidParameter) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDBusClientGet(t *testing.T) {
	t.Parallel()
	sidecar := sidecarWith(id, interfaces.StateReady, 42)
	f := newFake(t, func(c *bustest.Call) { c.Reply(rows(sidecar)) })
	if got, err := f.client.Get(soon(t), id); err != nil || cmp.Diff(&sidecar, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	f = newFake(t, func(c *bustest.Call) { c.Reply(rows()) })
	if got, err := f.client.Get(soon(t), id); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("nothing: %+v, %v", got, err)
	}
}

// TestDBusClientParametersSayWhetherToAsk shows that a call's own parameters win.
func TestDBusClientParametersSayWhetherToAsk(t *testing.T) {
	t.Parallel()
	for _, interactive := range []bool{false, true} {
		seen := make(chan bool, 1)
		f := newFake(t, func(c *bustest.Call) { seen <- flagged(c); c.Reply(rows()) })
		asking := f.client
		if !interactive {
			asking = asking.WithInteractiveAuthentication()
		}
		if _, err := asking.List(soon(t), interfaces.ListParameters{AllowInteractiveAuthentication: &interactive}); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != interactive {
			t.Errorf("asked %v, want %v", got, interactive)
		}
	}
}

func TestDBusClientEmptyLists(t *testing.T) {
	t.Parallel()
	f := newFake(t, fails("io.tripleo.Sidecar1.Error.NoSuchSidecar", "none", map[string]godbus.Variant{}))
	if got, err := f.client.List(soon(t), interfaces.ListParameters{}); err != nil || got == nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := f.client.Get(soon(t), id); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("one: %v", err)
	}
	f = newFake(t, fails("io.tripleo.Sidecar1.Error.NoSuchProfile", "none", map[string]godbus.Variant{}))
	if got, err := f.client.ListProfiles(soon(t), nil); err != nil || got == nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDBusClientStartsTheService(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *bustest.Call) { c.Reply(rows()) })
	f.set(func() { f.absent = true })
	if _, err := f.client.List(soon(t), interfaces.ListParameters{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"GetNameOwner", "StartServiceByName", "GetNameOwner", "GetConnectionUnixUser", "List"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked %v, want %v", f.asked, want)
	}
}

func TestDBusClientTellsOnlyRoot(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *bustest.Call) { t.Errorf("%s is asked", c.Member) })
	f.set(func() { f.uid = 1000 })
	if _, err := f.client.List(soon(t), interfaces.ListParameters{}); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("%v", err)
	}
}

func TestDBusClientAddress(t *testing.T) {
	t.Parallel()
	if c, err := dbus.New(""); err != nil || c.Address() != dbus.DefaultAddress {
		t.Errorf("%v, %v", c, err)
	}
	for _, address := range []string{"/run/bus", "unix:/run/bus", "unix:abstract=x", "unix:path=run", "unix:path=/a;unix:path=/b", "tcp:host=a", "unix:path=/a%20b"} {
		if _, err := dbus.New(address); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}
