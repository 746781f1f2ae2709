package service

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// TestHealthIsTheStatusText: only a sidecar that is ready and whose profile has a probe has a
// health, and what the unit says is shown.
func TestHealthIsTheStatusText(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	since := time.Date(2026, 11, 30, 11, 0, 0, 0, time.UTC).UnixMicro()
	status := launcher.FormatStatus(4242, "")
	unhealthy := status + launcher.FormatHealth(launcher.Health{State: interfaces.HealthUnhealthy, SinceUSec: since, Reason: "a: b; c"})
	healthy := status + launcher.FormatHealth(launcher.Health{State: interfaces.HealthHealthy, SinceUSec: since})
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome { return systemd.ReadyAs(status) }
	clinic := Caller{Agent: "clinic", UID: 42435, PIDFD: -1}
	probed := interfaces.LaunchParameters{Profile: "probed", NetworkNamespace: new("qdhcp-1"), Arguments: []string{"--pid-file=/var/lib/clinic/1/pid"}}
	type health struct {
		State  *interfaces.HealthState
		Since  *int64
		Reason *string
		PID    *int64
	}
	of := func(r interfaces.Runtime) health {
		return health{r.Health, r.HealthSinceUSec, r.HealthReason, r.ProcessID}
	}
	reply, err := h.core.Launch(t.Context(), clinic, probed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(health{State: new(interfaces.HealthUnknown), PID: new(int64(4242))}, of(reply.Sidecar.Runtime)); diff != "" {
		t.Errorf("after the launch (-want +got):\n%s", diff)
	}
	for name, test := range map[string]struct {
		text, active string
		want         health
	}{
		"healthy":   {healthy, "active", health{new(interfaces.HealthHealthy), &since, nil, new(int64(4242))}},
		"unhealthy": {unhealthy, "active", health{new(interfaces.HealthUnhealthy), &since, new("a: b; c"), new(int64(4242))}},
		"stopping":  {unhealthy, "deactivating", health{}},
		"again":     {unhealthy, "activating", health{}},
	} {
		h.units.Update(reply.Sidecar.Runtime.Unit, func(u *systemd.Unit) { u.StatusText, u.ActiveState = test.text, test.active })
		got := listed(t, h, clinic)
		if diff := cmp.Diff(test.want, of(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome { return systemd.ReadyAs(unhealthy) }
	other, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if diff := cmp.Diff(health{PID: new(int64(4242))}, of(other.Sidecar.Runtime)); diff != "" || err != nil {
		t.Errorf("without a probe: %v (-want +got):\n%s", err, diff)
	}
}

// listed returns the agent's only sidecar.
func listed(t *testing.T, h *fakeHost, agent Caller) interfaces.Runtime {
	t.Helper()
	all, err := h.core.List(t.Context(), agent, interfaces.ListParameters{})
	if err != nil || len(all) != 1 {
		t.Fatalf("listed %v, %v", all, err)
	}
	return all[0].Runtime
}

// TestHealthProperties: a command has a group of its own below the unit's, and a payload that is
// to be restarted gets the signal of a stop.
func TestHealthProperties(t *testing.T) {
	t.Parallel()
	tcp, command := &document.Health{TCP: "127.0.0.1:1"}, &document.Health{Command: []string{"/bin/x"}, Restart: true}
	for _, test := range []struct {
		engine string
		health *document.Health
		want   string
	}{
		{interfaces.EnginePodman, nil, ""},
		{interfaces.EngineRuntime, nil, ""},
		{interfaces.EngineRuntime, tcp, ""},
		{interfaces.EnginePodman, command, "WatchdogSignal=15 "},
		{interfaces.EngineRuntime, command, "Delegate=yes WatchdogSignal=15 "},
	} {
		e, err := engine.Of(test.engine)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, property := range probing(&attempt{engine: e, document: &document.Document{Plan: document.Plan{Health: test.health}}}) {
			got += property.Name + "=" + systemd.Format(property) + " "
		}
		if got != test.want {
			t.Errorf("engine %s, %+v: %q, want %q", test.engine, test.health, got, test.want)
		}
	}
}
