package twin

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
)

// TestTwin makes every request over every transport, and compares all that it leads
// to with what the same call of the core does.
func TestTwin(t *testing.T) {
	s := newSuite(t)
	for _, c := range cases() {
		t.Run(c.method+" "+c.name, func(t *testing.T) {
			callers := c.only
			if callers == nil {
				callers = []caller{root, operator, agent}
			}
			for _, who := range callers {
				want := c.want
				if who.agent != "" { // for which others do not exist; only that all say the same counts
					want = anything
				}
				compare(t, s, c, who, want)
			}
		})
	}
}

// TestTwinAuthorisation has each method called by those whom polkit lets in, does not
// let in, or would let in after they have authenticated, and by those who are not
// asked about.
func TestTwinAuthorisation(t *testing.T) {
	s := newSuite(t)
	const no, person = "PermissionDenied", "InteractiveAuthenticationRequired"
	for _, c := range []struct {
		caller
		want string
	}{
		{caller{name: "root", answer: polkit.Denied}, ""},
		{caller{name: "root who waits", answer: polkit.Denied, waits: true}, ""},
		{caller{name: "allowed", uid: nobody, answer: polkit.Authorised}, ""},
		{caller{name: "denied", uid: nobody, answer: polkit.Denied}, no},
		{caller{name: "needs to authenticate", uid: nobody, answer: polkit.NeedsAuthentication}, person},
		{caller{name: "no answer", uid: nobody, err: errors.New("it is not installed on this host, or does not start")}, no},
		{caller{name: "an error and a yes", uid: nobody, answer: polkit.Authorised, err: errors.New("it went away")}, no},
		{caller{name: "allowed, waits", uid: nobody, answer: polkit.Authorised, waits: true}, ""},
		{caller{name: "denied, waits", uid: nobody, answer: polkit.Denied, waits: true}, no},
		{caller{name: "nobody to ask", uid: nobody, answer: polkit.NeedsAuthentication, waits: true}, person},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []request{
				{"Launch", dnsmasq()},
				{"Explain", dnsmasq()},
				{"List", interfaces.ListParameters{}},
				{"List", interfaces.ListParameters{ID: new(here.String())}},
				{"List", interfaces.ListParameters{Agent: new("neutron-dhcp"), Profile: new("dnsmasq"), NetworkNamespace: new("qdhcp-1")}},
				{"ListProfiles", interfaces.ListProfilesParameters{Agent: new("neutron-dhcp")}},
				{"Monitor", interfaces.MonitorParameters{Agent: new("neutron-dhcp"), Profile: new("dnsmasq")}},
				{"ReadLog", interfaces.ReadLogParameters{}},
				{"ReadLog", interfaces.ReadLogParameters{ID: new(here.String())}},
				{"Signal", interfaces.SignalParameters{ID: here.String(), Signal: "SIGHUP"}},
				{"Stop", interfaces.StopParameters{ID: here.String()}},
			} {
				compare(t, s, twinCase{name: "let in or not", request: r, prepare: running}, c.caller, c.want)
			}
		})
	}
}

// TestTwinUnconfigured has a host without policy files: nothing is an error on every
// transport, since varlink has no other way to say it.
func TestTwinUnconfigured(t *testing.T) {
	s := newSuite(t)
	s.set = unconfigured(t)
	for _, c := range []struct {
		request
		want string
	}{
		{request{"Launch", dnsmasq()}, "NoSuchAgent"},
		{request{"Explain", dnsmasq()}, "NoSuchAgent"},
		{request{"List", interfaces.ListParameters{}}, "NoSuchSidecar"},
		{request{"ListProfiles", interfaces.ListProfilesParameters{}}, "NoSuchProfile"},
		{request{"Monitor", interfaces.MonitorParameters{}}, ""},
		{request{"ReadLog", interfaces.ReadLogParameters{}}, ""},
	} {
		compare(t, s, twinCase{request: c.request}, root, c.want)
	}
}

// anything says that no certain error is wanted.
const anything = "anything"

// compare makes a request over every transport, each on a host of its own.
func compare(t *testing.T, s *suite, c twinCase, who caller, want string) {
	t.Helper()
	if who.waits {
		c.parameters = interactive(c.parameters)
	}
	var reference outcome
	for i, tr := range transports() {
		if tr.bus && who.agent != "" {
			continue
		}
		t.Run(c.method+" as "+who.name+" by "+tr.name, func(t *testing.T) {
			got, offered := observe(t, s, tr, c, who)
			switch {
			case !offered:
				return
			case i > 0:
				if d := differences(reference, got); d != "" {
					t.Errorf("differs (-direct +%s):\n%s", tr.name, d)
				}
				return
			}
			reference = got
			if want != anything && nameOf(got.Error) != want {
				t.Errorf("direct: %+v, want %q", got.Error, want)
			}
		})
	}
}

// nameOf is the name of an error without its interface.
func nameOf(f *failure) string {
	if f == nil {
		return ""
	}
	return f.Name[strings.LastIndex(f.Name, ".")+1:]
}

// observe makes a request over one transport.
func observe(t *testing.T, s *suite, tr transport, c twinCase, who caller) (got outcome, offered bool) {
	t.Helper()
	h := newHost(t, s.set)
	call := tr.open(t, s, h, who)
	if c.prepare != nil {
		c.prepare(t, h)
	}
	h.forget()
	h.polkit.answer, h.polkit.err = who.answer, who.err
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := call(ctx, c.request)
	if errors.Is(err, errNotOffered) {
		return got, false
	}
	decisions, asked := h.journal.take(), h.polkit.take()
	if err := checkSubjects(asked, decisions, tr.bus, h.sender); err != nil {
		t.Error(err)
	}
	return outcome{answer, failureOf(err), entriesOf(decisions), questionsOf(asked), h.effects(t)}, true
}

// TestTwinComplete holds the cases to the contract: every method has one that
// succeeds, and every error is provoked.
func TestTwinComplete(t *testing.T) {
	t.Parallel()
	fine, provoked := map[string]bool{}, map[string]bool{"PermissionDenied": true, "InteractiveAuthenticationRequired": true} // TestTwinAuthorisation
	for _, c := range cases() {
		fine[c.method] = fine[c.method] || c.want == ""
		provoked[c.want] = true
	}
	methods := regexp.MustCompile(`(?m)^method (\w+)`).FindAllStringSubmatch(interfaces.Description, -1)
	for _, m := range methods {
		if !fine[m[1]] {
			t.Errorf("no case has %s succeed", m[1])
		}
	}
	if len(methods) != len(fine) {
		t.Errorf("%d methods in the contract, cases for %d", len(methods), len(fine))
	}
	only := []error{
		interfaces.ErrExpectedMore,   // about a flag that D-Bus has not
		interfaces.ErrMethodNotFound, // TestTwinUnknownMethod
	}
	for _, row := range interfaces.Errors {
		if name := row.Varlink[strings.LastIndex(row.Varlink, ".")+1:]; !provoked[name] && !slices.Contains(only, row.Err) {
			t.Errorf("no case provokes %s", name)
		}
	}
}
