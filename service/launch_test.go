package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/systemd"
)

func TestLaunchFailedSaysHow(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.units.OnStart = always(systemd.FailedWith(2))
	_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	var failed *interfaces.LaunchFailedError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a LaunchFailedError", err)
	}
	if failed.ExitCode == nil || *failed.ExitCode != 2 {
		t.Errorf("exit code %v, want 2", failed.ExitCode)
	}
	diff(t, "output", h.journal.output, failed.Output)
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil || len(listed) != 1 || listed[0].Runtime.State != interfaces.StateFailed {
		t.Errorf("the record of the failure is not there: %+v, %v", listed, err)
	}
	h.units.OnStart = nil
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1")); err != nil {
		t.Errorf("launch after a failed one: %v", err)
	}
}

// TestLaunchFailedNamesDenials shows that the caller hears what SELinux denied to the
// launch, where SELinux is, after what the payload wrote.
func TestLaunchFailedNamesDenials(t *testing.T) {
	t.Parallel()
	for _, enforcing := range []bool{false, true} {
		h := newFakeHost(t)
		h.core.Confinement = func() lsm.State { return lsm.State{SELinux: lsm.SELinux{On: true, Enforcing: enforcing}} }
		h.journal.denials = []string{`avc:  denied  { mount } for comm="podman" scontext=u:r:podman_t:s0 tcontext=u:r:fs_t:s0 tclass=filesystem permissive=0`}
		h.units.OnStart = always(systemd.FailedWith(125))
		_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
		var failed *interfaces.LaunchFailedError
		if !errors.As(err, &failed) {
			t.Fatal(err)
		}
		want := h.journal.output
		if enforcing {
			want = append(slices.Clone(want), "SELinux denied podman to podman_t: mount of a filesystem that is fs_t")
		}
		diff(t, "output", want, failed.Output)
	}
}

// TestLaunchOverWhatTheEngineLeft shows that a launch that fails because of what an
// earlier one left is made once more, and only once.
func TestLaunchOverWhatTheEngineLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failures, starts int
		code             int32
		result           string                 // systemd's, if it is another one than of the exit code
		phase            interfaces.LaunchPhase // that sidecar-launch has told systemd, if it did
		fails            bool
	}{
		"the engine fails once":      {failures: 1, phase: interfaces.PhaseEngine, code: 125, starts: 2},
		"its phase is not known":     {failures: 1, code: 125, starts: 2},
		"the engine fails twice":     {failures: 2, phase: interfaces.PhaseEngine, code: 125, starts: 2, fails: true},
		"the preparation fails":      {failures: 1, phase: interfaces.PhasePreparation, code: 125, starts: 1, fails: true},
		"the program is missing":     {failures: 1, phase: interfaces.PhasePayload, code: 127, starts: 1, fails: true},
		"the program fails":          {failures: 1, code: 1, starts: 1, fails: true},
		"the engine's time was over": {failures: 1, phase: interfaces.PhaseEngine, code: 125, result: "timeout", starts: 1, fails: true},
		"it has no pid file":         {failures: 1, phase: interfaces.PhaseReadiness, code: 143, starts: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
				if h.starts() > c.failures {
					return systemd.Outcome{}
				}
				o := systemd.FailedWith(c.code)
				fail := o.Change
				o.Change = func(u *systemd.Unit) {
					fail(u)
					u.Result = cmp.Or(c.result, u.Result)
					if c.phase != "" {
						u.StatusText = launcher.FormatFailure(c.phase, errors.New("because"))
					}
				}
				return o
			}
			_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
			if c.fails != (errors.Is(err, interfaces.ErrLaunchFailed) || errors.Is(err, interfaces.ErrNotReady)) || !c.fails && err != nil {
				t.Errorf("error %v", err)
			}
			var failed *interfaces.LaunchFailedError
			if errors.As(err, &failed) && (failed.Phase == nil || *failed.Phase != cmp.Or(c.phase, interfaces.PhasePayload)) {
				t.Errorf("it failed in %v, want %q", failed.Phase, c.phase)
			}
			diff(t, "starts", c.starts, h.starts())
		})
	}
}

func TestLaunchRefusedStartsNothing(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	gone := "qdhcp-gone"
	h.netns.missing = map[string]error{gone: errors.New("there is no such file")}
	cases := map[string]struct {
		p    interfaces.LaunchParameters
		want error
	}{
		"argument":        {dnsmasqFor("net-1", "--dhcp-script=/bin/sh"), interfaces.ErrArgumentNotAllowed},
		"namespace":       {in(dnsmasqFor("net-1"), "qrouter-1"), interfaces.ErrNamespaceNotAllowed},
		"no namespace":    {in(dnsmasqFor("net-1"), gone), interfaces.ErrNoSuchNetworkNamespace},
		"profile":         {interfaces.LaunchParameters{Profile: "keepalived"}, interfaces.ErrNoSuchProfile},
		"unknown profile": {interfaces.LaunchParameters{Profile: "sshd"}, interfaces.ErrNoSuchProfile},
	}
	for name, c := range cases {
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	diff(t, "starts", 0, h.starts())
	diff(t, "decisions in the journal", len(cases), len(h.journal.recorded("Launch")))
}

func TestLaunchHangUpIsCarriedThrough(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	ctx, hangUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
		hangUp()
		<-left
		return systemd.Outcome{Delay: 50 * time.Millisecond}
	}
	if _, err := h.core.Launch(ctx, dhcpAgent(), dnsmasqFor("net-1")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	close(left)
	// The next one of the same instance waits until the first is through.
	keep := interfaces.ModeKeep
	again := dnsmasqFor("net-1")
	again.Mode = &keep
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), again); err != nil {
		t.Errorf("the sidecar of the caller that hung up: %v", err)
	}
	diff(t, "starts", 1, h.starts())
	// The journal has both launches as allowed, though nobody heard of the first.
	for _, d := range h.journal.recorded("Launch") {
		diff(t, "verdict", "allowed", d.Verdict())
	}
}

// TestLaunchWait shows that a launch whose caller has gone is waited for.
func TestLaunchWait(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	ctx, hangUp := context.WithCancel(t.Context())
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
		hangUp()
		return systemd.Outcome{Delay: 100 * time.Millisecond}
	}
	_, _ = h.core.Launch(ctx, dhcpAgent(), dnsmasqFor("net-1"))
	if _, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{}); err != nil {
		t.Fatal(err)
	}
	if err := h.core.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil || listed[0].Runtime.State != interfaces.StateReady {
		t.Errorf("after Wait: %+v, %v", listed, err)
	}
}

// TestLaunchWaitsInVainTouchesNothing shows that a launch whose time is over
// before its turn comes leaves the old sidecar alone.
func TestLaunchWaitsInVainTouchesNothing(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		take(t, h.core.starts, "neutron-dhcp")
	}
	second, patience := dnsmasqFor("net-1", "--log-dhcp"), minTimeout.Microseconds()
	second.TimeoutUSec = &patience
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), second); !errors.Is(err, interfaces.ErrOverloaded) {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil || len(listed) != 1 || listed[0].Runtime.State != interfaces.StateReady {
		t.Fatalf("the old sidecar: %+v, %v", listed, err)
	}
	diff(t, "arguments", dnsmasqFor("net-1").Arguments, listed[0].Context.Arguments)
}

// TestLaunchUnitOfAStranger shows that systemd has the last word on what is there.
func TestLaunchUnitOfAStranger(t *testing.T) {
	t.Parallel()
	for mode, want := range map[interfaces.LaunchMode]error{
		interfaces.ModeFail: interfaces.ErrSidecarExists, interfaces.ModeKeep: interfaces.ErrSidecarExists,
		interfaces.ModeReplace: nil, interfaces.ModeAdopt: nil,
	} {
		h := newFakeHost(t)
		before := h.units.Before
		h.units.Before = func(operation, name string) error {
			if operation == "Start" && h.starts() == 0 {
				h.started.Add(1)
				return systemd.ErrUnitExists
			}
			return before(operation, name)
		}
		p := dnsmasqFor("net-1")
		p.Mode = &mode
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.Is(err, want) {
			t.Errorf("mode %s: %v, want %v", mode, err, want)
		}
	}
}

// TestLaunchThatSystemdWouldRepeat shows that nothing runs on after a failed
// launch of a profile that is restarted.
func TestLaunchThatSystemdWouldRepeat(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.units.OnStart = always(systemd.Outcome{Job: "failed", Change: func(u *systemd.Unit) {
		u.ActiveState, u.SubState, u.ExecMainCode, u.ExecMainStatus = "activating", "auto-restart", 1, 7
	}})
	_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	var failed *interfaces.LaunchFailedError
	if !errors.As(err, &failed) || failed.ExitCode == nil || *failed.ExitCode != 7 {
		t.Errorf("got %v, want exit code 7", err)
	}
	if listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{}); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("systemd goes on with %+v, %v", listed, err)
	}
}

// TestLaunchTooLongForAUnit shows that all that policy accepts fits into a unit
// if JSON makes it little longer, and that the rest is refused before anything is
// touched.
func TestLaunchTooLongForAUnit(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	var filled []string
	for range 15 {
		filled = append(filled, "--txt-record=a,"+strings.Repeat("<", 4081))
	}
	if _, err := h.core.Explain(t.Context(), dhcpAgent(), dnsmasqFor("n", filled...)); err != nil {
		t.Errorf("60 kB of '<': %v", err)
	}
	d := document.New(interfaces.Context{Arguments: []string{strings.Repeat(`\`, 64<<10)}}, nil, document.Plan{
		ID: "a.b.0123456789ab", PIDNamespace: document.Private,
	})
	_, err := h.core.properties(&attempt{document: d})
	var invalid *interfaces.InvalidParameterError
	if !errors.As(err, &invalid) || invalid.Parameter != "arguments" {
		t.Errorf("64 kB of backslashes, which JSON doubles: %v, want invalid arguments", err)
	}
}

func TestLaunchLimit(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	agent, _ := h.core.policy.Load().Agent("neutron-dhcp")
	agent.MaxSidecars = 2
	for _, network := range []string{"net-1", "net-2"} {
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor(network)); err != nil {
			t.Fatal(err)
		}
	}
	var tooMany *interfaces.TooManySidecarsError
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-3")); !errors.As(err, &tooMany) || tooMany.Limit != 2 {
		t.Errorf("third of two: %v, want TooManySidecars(2)", err)
	}
	h.units.OnStart = always(systemd.FailedWith(1))
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-2")); !errors.Is(err, interfaces.ErrLaunchFailed) {
		t.Errorf("replacing one of the two: %v, want ErrLaunchFailed", err)
	}
	h.units.OnStart = nil
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-3")); err != nil {
		t.Errorf("the failed one did not give way: %v", err)
	}
}

func in(p interfaces.LaunchParameters, netns string) interfaces.LaunchParameters {
	p.NetworkNamespace = &netns
	return p
}

func always(o systemd.Outcome) func(string, []systemd.Property) systemd.Outcome {
	return func(string, []systemd.Property) systemd.Outcome { return o }
}
