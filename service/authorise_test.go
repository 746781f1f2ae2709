package service

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
)

func TestPolkitIsAskedTheSameForEveryMethod(t *testing.T) {
	t.Parallel()
	all := map[string]string{"agent": "neutron-dhcp", "profile": "dnsmasq", "network-namespace": "qdhcp-net-1"}
	one := map[string]string{"id": "ID", "agent": "neutron-dhcp", "profile": "dnsmasq", "network-namespace": "qdhcp-net-1"}
	want := map[string]polkit.Request{
		"Launch":         {Action: "io.tripleo.sidecar.launch", Details: all},
		"Explain":        {Action: "io.tripleo.sidecar.inspect", Details: all},
		"List":           {Action: "io.tripleo.sidecar.inspect", Details: all},
		"List of one":    {Action: "io.tripleo.sidecar.inspect", Details: one},
		"Monitor":        {Action: "io.tripleo.sidecar.inspect", Details: map[string]string{"agent": "neutron-dhcp", "profile": "dnsmasq"}},
		"ReadLog":        {Action: "io.tripleo.sidecar.inspect", Details: map[string]string{"agent": "neutron-dhcp", "profile": "dnsmasq"}},
		"ReadLog of one": {Action: "io.tripleo.sidecar.inspect", Details: one},
		"ListProfiles":   {Action: "io.tripleo.sidecar.inspect", Details: map[string]string{"agent": "neutron-dhcp"}},
		"Signal":         {Action: "io.tripleo.sidecar.signal", Details: one},
		"Stop":           {Action: "io.tripleo.sidecar.stop", Details: one},
	}
	bus := Caller{PID: 4713, UID: 1000, PIDFD: -1, Sender: ":1.42"}
	for who, caller := range map[string]Caller{"varlink": somebody(), "bus": bus} {
		for _, interactive := range []*bool{nil, new(false), new(true)} {
			h := newFakeHost(t)
			h.observe(t)
			id := h.launched(t)
			for method := range methods(h, caller, id, interactive) {
				asked := h.asking(polkit.Authorised, nil)
				if err := methods(h, caller, h.launched(t), interactive)[method](t.Context()); err != nil {
					t.Errorf("%s, %s: %v", who, method, err)
				}
				if len(*asked) != 1 {
					t.Errorf("%s, %s: %d questions", who, method, len(*asked))
					continue
				}
				w, got := want[method], (*asked)[0]
				w.Interactive = interactive != nil && *interactive
				w.Details = withID(w.Details, id)
				diff(t, who+", "+method, w.Details, got.Details)
				if got.Action != w.Action || got.Interactive != w.Interactive {
					t.Errorf("%s, %s: asked for %s, interactive %v; want %s, %v", who, method, got.Action, got.Interactive, w.Action, w.Interactive)
				}
				if wantSubject := subjectFor(who); got.Subject != wantSubject {
					t.Errorf("%s, %s: about %v, want %v", who, method, got.Subject, wantSubject)
				}
			}
		}
	}
}

// TestPolkitIsToldNoOddNamespace: rules log and spawn with the details; names that no
// agent's file can grant are not among them.
func TestPolkitIsToldNoOddNamespace(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	for name, told := range map[string]bool{"qdhcp-a@b": true, "a\nb": false, "a b": false, "\x1b[2J": false, "../1": false} {
		asked := h.asking(polkit.Authorised, nil)
		p := dnsmasqFor("net-1")
		p.NetworkNamespace = &name
		agent := "neutron-dhcp"
		p.Agent = &agent
		_, _ = h.core.Launch(t.Context(), somebody(), p)
		for _, request := range *asked {
			if _, is := request.Details["network-namespace"]; is != told {
				t.Errorf("%q: polkit is told %v", name, request.Details)
			}
		}
		if len(*asked) != 1 {
			t.Errorf("%q: %d questions", name, len(*asked))
		}
	}
}

func subjectFor(who string) polkit.Subject {
	if who == "bus" {
		return polkit.BusName(":1.42")
	}
	return polkit.Process(9, 1000)
}

func withID(details map[string]string, id string) map[string]string {
	filled := map[string]string{}
	for key, value := range details {
		if value == "ID" {
			value = id
		}
		filled[key] = value
	}
	return filled
}

func TestPolkitAgentsAndRootAreNotAskedAbout(t *testing.T) {
	t.Parallel()
	for who, caller := range map[string]Caller{
		"agent": dhcpAgent(), "root": {PIDFD: 3}, "root on the bus": {PIDFD: -1, Sender: ":1.1"},
	} {
		h := newFakeHost(t)
		h.observe(t)
		asked := h.asking(polkit.Denied, nil)
		for method := range methods(h, caller, "", nil) {
			if err := methods(h, caller, h.launched(t), nil)[method](t.Context()); err != nil {
				t.Errorf("%s, %s: %v", who, method, err)
			}
		}
		if len(*asked) != 0 {
			t.Errorf("%s: polkit was asked: %v", who, *asked)
		}
		want := map[bool]string{true: ByAgent, false: ByRoot}[caller.Agent != ""]
		for _, d := range h.journal.recorded("Stop") {
			diff(t, who, Authorisation{By: want}, d.Authorisation)
		}
	}
}

// TestPolkitRefusalsTellNothing shows that whoever is not let in gets the same
// answer whether or not the sidecar, the agent and the namespace exist, that
// nothing is done, and that the journal has it.
func TestPolkitRefusalsTellNothing(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		verdict polkit.Verdict
		err     error
		want    error
		noted   string
	}{
		"denied":        {polkit.Denied, nil, interfaces.ErrPermissionDenied, "denied"},
		"authenticate":  {polkit.NeedsAuthentication, nil, interfaces.ErrInteractiveAuthenticationRequired, "needs-authentication"},
		"error":         {polkit.Denied, errors.New("no answer"), interfaces.ErrPermissionDenied, "failed"},
		"error and yes": {polkit.Authorised, errors.New("no answer"), interfaces.ErrPermissionDenied, "failed"},
		"old polkit":    {polkit.Denied, polkit.ErrNoPIDFD, interfaces.ErrPermissionDenied, "failed"},
		"nonsense":      {polkit.Verdict(77), nil, interfaces.ErrPermissionDenied, "denied"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			there := h.launched(t)
			h.asking(c.verdict, c.err)
			before, signals := h.starts(), len(h.signals.sent)
			absent := "neutron-dhcp.dnsmasq.0123456789ab"
			for method, call := range methods(h, somebody(), there, nil) {
				err := call(t.Context())
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", method, err, c.want)
					continue
				}
				if other := methods(h, somebody(), absent, nil)[method](t.Context()); other == nil || other.Error() != err.Error() {
					t.Errorf("%s: %q of what exists, %q of what does not", method, err, other)
				}
			}
			if h.starts() != before || len(h.signals.sent) != signals {
				t.Error("something was done")
			}
			if _, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: &there}); err != nil {
				t.Errorf("the sidecar has gone: %v", err)
			}
			for _, method := range []string{"Launch", "Explain", "List", "ListProfiles", "Monitor", "ReadLog", "Signal", "Stop"} {
				noted := h.journal.recorded(method)
				d := noted[len(noted)-1]
				if d.Authorisation.By != ByPolkit || d.Authorisation.Verdict != c.noted || d.Verdict() != "refused" {
					t.Errorf("%s: the journal has %+v", method, d)
				}
			}
		})
	}
}

// TestPolkitUnknownThingsAreRefusedAlike has an operator who is not let in name
// agents, profiles and namespaces that do not exist.
func TestPolkitUnknownThingsAreRefusedAlike(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.netns.missing = map[string]error{"qdhcp-gone": errors.New("it does not exist")}
	h.asking(polkit.Denied, nil)
	p := dnsmasqFor("net-1")
	p.Agent = new("neutron-dhcp")
	_, want := h.core.Launch(t.Context(), somebody(), p)
	for what, change := range map[string]func(*interfaces.LaunchParameters){
		"agent":     func(p *interfaces.LaunchParameters) { p.Agent = new("no-such-agent") },
		"profile":   func(p *interfaces.LaunchParameters) { p.Profile = "no-such-profile" },
		"namespace": func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("qdhcp-gone") },
		"argument":  func(p *interfaces.LaunchParameters) { p.Arguments = []string{"--no-such-option"} },
	} {
		q := p
		change(&q)
		if _, err := h.core.Launch(t.Context(), somebody(), q); err == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
}

func TestPolkitComesAfterTheSyntax(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	asked := h.asking(polkit.Authorised, nil)
	id := "neutron-dhcp.dnsmasq.0123456789ab"
	for what, call := range map[string]func() error{
		"id": func() error {
			_, err := h.core.Stop(t.Context(), somebody(), interfaces.StopParameters{ID: "x"})
			return err
		},
		"timeout": func() error {
			_, err := h.core.Stop(t.Context(), somebody(), interfaces.StopParameters{ID: id, TimeoutUSec: new(int64(0))})
			return err
		},
		"signal": func() error {
			_, err := h.core.Signal(t.Context(), somebody(), interfaces.SignalParameters{ID: id, Signal: "SIGSTOP"})
			return err
		},
		"agent": func() error { _, err := h.core.Launch(t.Context(), somebody(), dnsmasqFor("net-1")); return err },
		"list": func() error {
			_, err := h.core.List(t.Context(), somebody(), interfaces.ListParameters{Agent: new("/")})
			return err
		},
		"profiles": func() error {
			_, err := h.core.ListProfiles(t.Context(), somebody(), interfaces.ListProfilesParameters{Agent: new("/")})
			return err
		},
	} {
		if err := call(); !errors.Is(err, interfaces.ErrInvalidParameter) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("polkit was asked: %v", *asked)
	}
}

func TestPolkitAllowsNoMoreThanThePolicy(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.asking(polkit.Authorised, nil)
	p := dnsmasqFor("net-1", "--dhcp-script=/bin/sh")
	p.Agent = new("neutron-dhcp")
	if _, err := h.core.Launch(t.Context(), somebody(), p); !errors.Is(err, interfaces.ErrArgumentNotAllowed) {
		t.Errorf("%v, want ErrArgumentNotAllowed", err)
	}
	noted := h.journal.recorded("Launch")
	diff(t, "journal", Authorisation{ByPolkit, "io.tripleo.sidecar.launch", "authorised"}, noted[0].Authorisation)
}

func TestPolkitNeedsAPIDFDOrASender(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	asked := h.asking(polkit.Authorised, nil)
	for method, call := range methods(h, Caller{PID: 1, UID: 1000, PIDFD: -1}, "neutron-dhcp.dnsmasq.0123456789ab", nil) {
		if err := call(t.Context()); !errors.Is(err, interfaces.ErrPermissionDenied) || !strings.Contains(err.Error(), "system bus") {
			t.Errorf("%s: %v, want a refusal that points to D-Bus", method, err)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("polkit was asked: %v", *asked)
	}
}

func TestPolkitCallerThatLeaves(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	id := h.launched(t)
	before := h.starts()
	for method := range methods(h, somebody(), id, nil) {
		ctx, leave := context.WithCancel(t.Context())
		h.core.Authority = &polkit.Fake{Answer: func(ctx context.Context, _ polkit.Request) (polkit.Verdict, error) {
			leave()
			<-ctx.Done()
			return polkit.Authorised, nil
		}}
		if err := methods(h, somebody(), id, nil)[method](ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it ends with its caller", method, err)
		}
	}
	if h.starts() != before || len(h.signals.sent) != 0 {
		t.Error("something was done")
	}
}
