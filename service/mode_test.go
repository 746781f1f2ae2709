package service

import (
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// pocketed is dnsmasqFor for the agent that has stand-ins.
func pocketed(more ...string) (Caller, interfaces.LaunchParameters) {
	netns := "qdhcp-net-1"
	return Caller{Agent: "pocket", PIDFD: -1}, interfaces.LaunchParameters{
		Profile: "dnsmasq", NetworkNamespace: &netns,
		Arguments: append([]string{"--pid-file=/var/lib/pocket/net-1/pid"}, more...),
	}
}

// TestLaunchAdopt shows what mode adopt does with each thing that it can find in
// the sidecar's place.
func TestLaunchAdopt(t *testing.T) {
	t.Parallel()
	state := func(state string) func(*systemd.Unit) {
		return func(u *systemd.Unit) { u.ActiveState = state }
	}
	cases := map[string]struct {
		found, later func(*systemd.Unit) // what becomes of the first one before and during the second launch
		more         []string            // arguments that only the second launch has
		adopted      bool
	}{
		"the same":                            {adopted: true},
		"another":                             {more: []string{"--log-dhcp"}},
		"a failed one":                        {found: state("failed")},
		"one that has gone":                   {found: state("inactive")},
		"one that becomes ready":              {found: state("activating"), later: state("active"), adopted: true},
		"one that fails":                      {found: state("activating"), later: state("failed")},
		"another that becomes ready":          {found: state("activating"), later: state("active"), more: []string{"--log-dhcp"}},
		"one that stops":                      {found: state("deactivating"), later: state("inactive")},
		"one whose record cannot be read":     {found: func(u *systemd.Unit) { u.Digest = nil }},
		"one that systemd has started again":  {found: state("activating"), later: func(u *systemd.Unit) { u.ActiveState, u.NRestarts = "active", 1 }, adopted: true},
		"one that waits for its restart":      {found: waitingForRestart},
		"one whose restart is queued":         {found: func(u *systemd.Unit) { waitingForRestart(u); u.SubState = "auto-restart-queued" }},
		"one whose restart fails":             {found: state("activating"), later: waitingForRestart},
		"another that waits for its restart":  {found: waitingForRestart, more: []string{"--log-dhcp"}},
		"one that cannot be started any more": {found: state("deactivating"), later: state("failed")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			caller, p := pocketed()
			first, err := h.core.Launch(t.Context(), caller, p)
			if err != nil {
				t.Fatal(err)
			}
			unit := first.Sidecar.Runtime.Unit
			if c.found != nil {
				h.units.Update(unit, c.found)
			}
			if c.later != nil {
				time.AfterFunc(50*time.Millisecond, func() { h.units.Update(unit, c.later) })
			}
			_, p = pocketed(c.more...)
			second, err := h.core.Launch(t.Context(), caller, p)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "stand-in", &interfaces.StandIn{Adopted: c.adopted, PIDFiles: []string{"/var/lib/pocket/net-1/pid"}}, second.StandIn)
			diff(t, "invocation is the first one's", c.adopted, *first.Sidecar.Runtime.InvocationID == *second.Sidecar.Runtime.InvocationID)
			diff(t, "arguments", p.Arguments, second.Sidecar.Context.Arguments)
			starts := 2
			if c.adopted {
				starts = 1
			}
			diff(t, "starts", starts, h.starts())
		})
	}
}

// waitingForRestart makes u a unit whose process has failed and that systemd is about
// to start again.
func waitingForRestart(u *systemd.Unit) {
	u.ActiveState, u.SubState, u.Result, u.MainPID = "activating", "auto-restart", "exit-code", 0
	u.ExecMainCode, u.ExecMainStatus, u.NRestarts = 1, 7, 3
}

// TestHardeningKeepDoesNotWaitForRestarts shows that mode keep starts what it was asked
// for in the place of a unit that waits for its restart, and leaves another one.
func TestHardeningKeepDoesNotWaitForRestarts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more   []string
		want   error
		starts int
	}{
		"the same": {starts: 2},
		"another":  {more: []string{"--log-dhcp"}, want: interfaces.ErrSidecarExists, starts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.launched(t)
			h.units.Update(dnsmasqID("net-1").Unit(), waitingForRestart)
			p := dnsmasqFor("net-1", c.more...)
			p.Mode = new(interfaces.ModeKeep)
			if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			diff(t, "starts", c.starts, h.starts())
		})
	}
}

// TestLaunchInAnotherNamespaceOfTheSameName shows that what runs in a namespace
// that was deleted is not taken for what is asked for, in the new one.
func TestLaunchInAnotherNamespaceOfTheSameName(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fakeNamespaces){
		"another":   func(n *fakeNamespaces) { n.left = true },
		"not known": func(n *fakeNamespaces) { n.unknown = errors.New("the process has ended") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, "")))
			caller, p := pocketed()
			if _, err := h.core.Launch(t.Context(), caller, p); err != nil {
				t.Fatal(err)
			}
			change(h.netns)
			keep := interfaces.ModeKeep
			kept := p
			kept.Mode = &keep
			if _, err := h.core.Launch(t.Context(), caller, kept); !errors.Is(err, interfaces.ErrSidecarExists) {
				t.Errorf("keep: %v, want ErrSidecarExists", err)
			}
			again, err := h.core.Launch(t.Context(), caller, p)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "adopted", false, again.StandIn.Adopted)
			diff(t, "starts", 2, h.starts())
		})
	}
}

// TestLaunchModeByDefault shows that only an agent with stand-ins adopts unasked,
// and that it can ask for something else.
func TestLaunchModeByDefault(t *testing.T) {
	t.Parallel()
	replace := interfaces.ModeReplace
	caller, p := pocketed()
	cases := map[string]struct {
		caller  Caller
		p       interfaces.LaunchParameters
		mode    *interfaces.LaunchMode
		standIn *interfaces.StandIn
		starts  int
	}{
		"with stand-ins":             {caller, p, nil, &interfaces.StandIn{Adopted: true, PIDFiles: []string{"/var/lib/pocket/net-1/pid"}}, 1},
		"with stand-ins, to replace": {caller, p, &replace, &interfaces.StandIn{PIDFiles: []string{"/var/lib/pocket/net-1/pid"}}, 2},
		"without":                    {dhcpAgent(), dnsmasqFor("net-1"), nil, nil, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			if _, err := h.core.Launch(t.Context(), c.caller, c.p); err != nil {
				t.Fatal(err)
			}
			c.p.Mode = c.mode
			got, err := h.core.Launch(t.Context(), c.caller, c.p)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "stand-in", c.standIn, got.StandIn)
			diff(t, "starts", c.starts, h.starts())
		})
	}
}

// TestLaunchStandInWithoutPIDFiles shows that a profile that names no pid file
// gives an empty list, which null is not.
func TestLaunchStandInWithoutPIDFiles(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	netns := "qdhcp-net-1"
	got, err := h.core.Launch(t.Context(), Caller{Agent: "pocket", PIDFD: -1}, interfaces.LaunchParameters{
		Profile: "conntrackd", NetworkNamespace: &netns, Arguments: []string{"-d", "-C", "/var/lib/pocket/r/conntrackd.conf"},
	})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "stand-in", &interfaces.StandIn{PIDFiles: []string{}}, got.StandIn)
}
