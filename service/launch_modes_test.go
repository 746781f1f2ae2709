package service

import (
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

func TestLaunchAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	p := dnsmasqFor("net-1")
	launched, err := h.core.Launch(t.Context(), dhcpAgent(), p)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "state", interfaces.StateReady, launched.Sidecar.Runtime.State)
	diff(t, "context", &interfaces.Context{
		Profile: "dnsmasq", Agent: "neutron-dhcp",
		NetworkNamespace: p.NetworkNamespace, Arguments: p.Arguments,
	}, launched.Sidecar.Context)
	diff(t, "stand-in of an agent that has none", (*interfaces.StandIn)(nil), launched.StandIn)
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "list", []interfaces.Sidecar{launched.Sidecar}, listed)
}

func TestLaunchModes(t *testing.T) {
	t.Parallel()
	same, other := dnsmasqFor("net-1"), dnsmasqFor("net-1", "--log-dhcp")
	cases := map[string]struct {
		mode   interfaces.LaunchMode
		second interfaces.LaunchParameters
		want   error
		starts int
	}{
		"replace":         {interfaces.ModeReplace, other, nil, 2},
		"fail":            {interfaces.ModeFail, same, interfaces.ErrSidecarExists, 1},
		"keep the same":   {interfaces.ModeKeep, same, nil, 1},
		"keep, not same":  {interfaces.ModeKeep, other, interfaces.ErrSidecarExists, 1},
		"adopt the same":  {interfaces.ModeAdopt, same, nil, 1},
		"adopt, not same": {interfaces.ModeAdopt, other, nil, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			if _, err := h.core.Launch(t.Context(), dhcpAgent(), same); err != nil {
				t.Fatal(err)
			}
			second := c.second
			second.Mode = &c.mode
			got, err := h.core.Launch(t.Context(), dhcpAgent(), second)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err == nil {
				diff(t, "arguments", second.Arguments, got.Sidecar.Context.Arguments)
			}
			diff(t, "starts", c.starts, h.starts())
		})
	}
}

// TestLaunchKeepWaitsForWhatStops shows that mode keep does not answer a sidecar
// that is about to be gone.
func TestLaunchKeepWaitsForWhatStops(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	s, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if err != nil {
		t.Fatal(err)
	}
	unit := s.Sidecar.Runtime.Unit
	h.units.Update(unit, func(u *systemd.Unit) { u.ActiveState = "deactivating" })
	time.AfterFunc(50*time.Millisecond, func() {
		h.units.Update(unit, func(u *systemd.Unit) { u.ActiveState = "inactive" })
	})
	keep := interfaces.ModeKeep
	again := dnsmasqFor("net-1")
	again.Mode = &keep
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), again); err != nil {
		t.Fatal(err)
	}
	diff(t, "starts", 2, h.starts())
}

// TestLaunchReplacesOnlyTheNamedRun: what an agent has done since a recycle looked wins.
func TestLaunchReplacesOnlyTheNamedRun(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	first := h.launch(t, "net-1")
	again := dnsmasqFor("net-1")
	again.Mode, again.Replaces = new(interfaces.ModeReplace), first.Runtime.InvocationID
	second, err := h.core.Launch(t.Context(), dhcpAgent(), again)
	if err != nil || *second.Sidecar.Runtime.InvocationID == *first.Runtime.InvocationID {
		t.Fatalf("the run that is named: %+v, %v", second.Sidecar, err)
	}
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), again); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("a run that is over: error %v", err)
	}
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "list", []interfaces.Sidecar{second.Sidecar}, listed)
	if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: first.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), again); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("a sidecar that was stopped: error %v", err)
	}
	diff(t, "starts", 2, h.starts())
	for _, mode := range []*interfaces.LaunchMode{nil, new(interfaces.ModeAdopt)} {
		again.Mode = mode
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), again); !errors.Is(err, interfaces.ErrInvalidParameter) {
			t.Errorf("mode %v: error %v", mode, err)
		}
	}
}
