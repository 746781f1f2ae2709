package service

import (
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestStopHidesOtherAgents(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	launched, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if err != nil {
		t.Fatal(err)
	}
	s := launched.Sidecar
	other := Caller{Agent: "neutron-l3", UID: 0, PIDFD: -1}
	_, stopErr := h.core.Stop(t.Context(), other, interfaces.StopParameters{ID: s.ID})
	_, signalErr := h.core.Signal(t.Context(), other, interfaces.SignalParameters{ID: s.ID, Signal: "SIGHUP"})
	_, listErr := h.core.List(t.Context(), other, interfaces.ListParameters{ID: &s.ID})
	for what, err := range map[string]error{"Stop": stopErr, "Signal": signalErr, "List": listErr} {
		if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Errorf("%s of another agent's sidecar: %v, want ErrNoSuchSidecar", what, err)
		}
	}
	if len(h.signals.sent) != 0 {
		t.Errorf("signals were sent: %v", h.signals.sent)
	}
	if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("Stop of the own one: %v", err)
	}
	if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: s.ID}); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("second Stop: %v, want ErrNoSuchSidecar", err)
	}
}

func TestPolicyHostSocketIsForRoot(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	agent := "neutron-dhcp"
	p := dnsmasqFor("net-1")
	p.Agent = &agent
	stranger, root := Caller{UID: 1000, PIDFD: -1}, Caller{UID: 0, PIDFD: -1}
	if _, err := h.core.Launch(t.Context(), stranger, p); !errors.Is(err, interfaces.ErrPermissionDenied) {
		t.Errorf("a stranger's launch: %v, want ErrPermissionDenied", err)
	}
	if _, err := h.core.List(t.Context(), stranger, interfaces.ListParameters{}); !errors.Is(err, interfaces.ErrPermissionDenied) {
		t.Errorf("a stranger's list: %v, want ErrPermissionDenied", err)
	}
	if _, err := h.core.ListProfiles(t.Context(), stranger, interfaces.ListProfilesParameters{}); !errors.Is(err, interfaces.ErrPermissionDenied) {
		t.Errorf("a stranger's profiles: %v, want ErrPermissionDenied", err)
	}
	if _, err := h.core.Launch(t.Context(), root, p); err != nil {
		t.Errorf("root's launch: %v", err)
	}
	p.Agent = nil
	var invalid *interfaces.InvalidParameterError
	if _, err := h.core.Launch(t.Context(), root, p); !errors.As(err, &invalid) || invalid.Parameter != "agent" {
		t.Errorf("root's launch for nobody: %v, want an invalid agent", err)
	}
}

func TestPolicyAgentSpeaksForItself(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	other := "neutron-l3"
	p := dnsmasqFor("net-1")
	p.Agent = &other
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.Is(err, interfaces.ErrNoSuchAgent) {
		t.Errorf("got %v, want ErrNoSuchAgent", err)
	}
	decisions := h.journal.recorded("Launch")
	if len(decisions) != 1 || decisions[0].Verdict() != "refused" || decisions[0].Agent != "neutron-dhcp" || decisions[0].Caller.PID != 4711 {
		t.Errorf("journal: %+v", decisions)
	}
}

func TestPolicyBadParameters(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	mode, short, huge := interfaces.LaunchMode("maybe"), int64(999999), int64(1e12)
	cases := map[string]struct {
		change func(*interfaces.LaunchParameters)
		want   string
	}{
		"mode":         {func(p *interfaces.LaunchParameters) { p.Mode = &mode }, "mode"},
		"too short":    {func(p *interfaces.LaunchParameters) { p.TimeoutUSec = &short }, "timeoutUSec"},
		"too much":     {func(p *interfaces.LaunchParameters) { p.TimeoutUSec = &huge }, "timeoutUSec"},
		"profile name": {func(p *interfaces.LaunchParameters) { p.Profile = "../dnsmasq" }, "profile"},
	}
	for name, c := range cases {
		p := dnsmasqFor("net-1")
		c.change(&p)
		var invalid *interfaces.InvalidParameterError
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.As(err, &invalid) || invalid.Parameter != c.want || invalid.Reason == "" {
			t.Errorf("%s: %v, want an invalid %s with a reason", name, err, c.want)
		}
	}
	_, err := h.core.Signal(t.Context(), dhcpAgent(), interfaces.SignalParameters{ID: "neutron-dhcp.dnsmasq.0123456789ab", Signal: "SIGSTOP"})
	var invalid *interfaces.InvalidParameterError
	if !errors.As(err, &invalid) || invalid.Parameter != "signal" {
		t.Errorf("SIGSTOP: %v, want an invalid signal", err)
	}
}

// TestPolicyNobodySpeaksForAnother shows that the journal says who asked, and not
// whom they named.
func TestPolicyNobodySpeaksForAnother(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	victim := "neutron-l3.keepalived.0123456789ab"
	_, _ = h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: victim})
	_, _ = h.core.Signal(t.Context(), dhcpAgent(), interfaces.SignalParameters{ID: victim, Signal: "SIGHUP"})
	long := dnsmasqFor("net-1")
	long.Profile = strings.Repeat("x", 1000)
	_, _ = h.core.Launch(t.Context(), dhcpAgent(), long)
	for _, method := range []string{"Stop", "Signal", "Launch"} {
		decisions := h.journal.recorded(method)
		if len(decisions) != 1 {
			t.Fatalf("%s: %d decisions", method, len(decisions))
		}
		if d := decisions[0]; d.Agent != "neutron-dhcp" || d.SidecarID != "" || d.Profile != "" || d.Verdict() != "refused" {
			t.Errorf("%s: %+v", method, d)
		}
	}
}

func TestStopTimeout(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	launched, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if err != nil {
		t.Fatal(err)
	}
	s := launched.Sidecar
	for _, usec := range []int64{0, -1, stopTimeout.Microseconds() + 1} {
		var invalid *interfaces.InvalidParameterError
		_, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: s.ID, TimeoutUSec: &usec})
		if !errors.As(err, &invalid) || invalid.Parameter != "timeoutUSec" {
			t.Errorf("%d: %v, want an invalid timeoutUSec", usec, err)
		}
	}
	usec := int64(1)
	if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: s.ID, TimeoutUSec: &usec}); err != nil {
		t.Errorf("%d: %v", usec, err)
	}
}
