package service

import (
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// limited is a host on which the agent may have so many sidecars, and has those
// of the networks.
func limited(t *testing.T, limit int, networks ...string) *fakeHost {
	t.Helper()
	h := newFakeHost(t)
	agent, _ := h.core.policy.Load().Agent("neutron-dhcp")
	agent.MaxSidecars = limit
	for _, network := range networks {
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor(network)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *fakeHost) wantTooMany(t *testing.T, network string) {
	t.Helper()
	var tooMany *interfaces.TooManySidecarsError
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor(network)); !errors.As(err, &tooMany) {
		t.Errorf("%s: %v, want TooManySidecars", network, err)
	}
}

// TestConcurrentLimitHoldsDuringReplacement shows that a sidecar whose old unit
// has gone and whose new one has not come yet keeps its place.
func TestConcurrentLimitHoldsDuringReplacement(t *testing.T) {
	t.Parallel()
	h := limited(t, 2, "net-1", "net-2")
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil {
		t.Fatal(err)
	}
	gaps := 0
	h.units.Before = func(operation, name string) error {
		if operation == "Start" && name == listed[0].Runtime.Unit {
			gaps++
			h.wantTooMany(t, "net-3")
		}
		return nil
	}
	for _, network := range []string{"net-1", "net-2"} {
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor(network)); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, "replacements", 1, gaps)
	h.wantTooMany(t, "net-3")
}

// TestConcurrentLimitOfWhatEndsByItself shows that a sidecar whose unit goes just
// before it is replaced needs a place again.
func TestConcurrentLimitOfWhatEndsByItself(t *testing.T) {
	t.Parallel()
	h := limited(t, 1, "net-1")
	ended := false
	h.units.After = func(operation, name string) error {
		if operation == "List" && !strings.Contains(name, "*") && !ended {
			ended = true
			if _, err := h.units.Stop(t.Context(), name, 0); err != nil {
				t.Error(err)
			}
			if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-2")); err != nil {
				t.Errorf("the only one: %v", err)
			}
		}
		return nil
	}
	h.wantTooMany(t, "net-1")
	diff(t, "starts", 2, h.starts())
}

func TestPolicyKeptLaunchIsNotedAsSuch(t *testing.T) {
	t.Parallel()
	h := limited(t, 1, "net-1")
	keep, p := interfaces.ModeKeep, dnsmasqFor("net-1")
	p.Mode = &keep
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); err != nil {
		t.Fatal(err)
	}
	var kept []bool
	for _, d := range h.journal.recorded("Launch") {
		if !d.Outcome {
			kept = append(kept, d.Kept)
		}
	}
	diff(t, "kept", []bool{false, true}, kept)
}
