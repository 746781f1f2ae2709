//go:build testhost

package test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// twinRule looks at all that a rule can look at: the profile probe of the agent tester
// goes in t-twin, and in t-twin-ask after somebody has authenticated. Nothing else
// goes, but to see what there is of a profile.
const twinRule = `polkit.addRule(function(action, subject) {
	if (action.id.indexOf("io.tripleo.sidecar.") != 0 || subject.user != "t-allowed") { return polkit.Result.NOT_HANDLED; }
	var agent = action.lookup("agent"), profile = action.lookup("profile");
	var netns = action.lookup("network-namespace"), id = action.lookup("id");
	if (action.id == "io.tripleo.sidecar.launch" && id) { return polkit.Result.NO; }
	if ((action.id == "io.tripleo.sidecar.stop" || action.id == "io.tripleo.sidecar.signal") && (!id || id.indexOf("tester.probe.") != 0)) { return polkit.Result.NO; }
	if (agent != "tester" || profile != "probe") { return polkit.Result.NO; }
	if (netns == "t-twin") { return polkit.Result.YES; }
	if (netns == "t-twin-ask") { return polkit.Result.AUTH_ADMIN; }
	return action.id == "io.tripleo.sidecar.inspect" && !netns && !id ? polkit.Result.YES : polkit.Result.NO;
});
`

// twinCall is a call and how the rule has it end on the host's socket.
type twinCall struct {
	what, method string
	parameters   any
	want         string
}

// onBus is the call as one of the manager.
func (c twinCall) onBus() busCall {
	switch p := c.parameters.(type) {
	case interfaces.LaunchParameters:
		return launching(c.method, p)
	case interfaces.StopParameters:
		return ofManager("Stop", p.ID)
	case interfaces.SignalParameters:
		return ofManager("Signal", p.ID, p.Signal)
	case interfaces.ListProfilesParameters:
		return selecting(c.method, map[string]*string{"agent": p.Agent})
	case interfaces.ListParameters:
		return selecting(c.method, map[string]*string{
			"id": p.ID, "agent": p.Agent, "profile": p.Profile, "network-namespace": p.NetworkNamespace,
		})
	}
	return busCall{}
}

func selecting(method string, selectors map[string]*string) busCall {
	c := ofManager(method)
	c.Selectors = map[string]string{}
	for name, value := range selectors {
		if value != nil {
			c.Selectors[name] = *value
		}
	}
	return c
}

// twinCalls are calls that the rule lets in and does not, by each thing that it looks
// at. Those that stop come last.
func twinCalls(in, ask interfaces.LaunchParameters, inID, askID string) []twinCall {
	calls := []twinCall{
		{"nothing selected", "List", interfaces.ListParameters{}, refusedByIt},
		{"a profile", "List", interfaces.ListParameters{Agent: new(tester), Profile: new("probe")}, fine},
		{"another profile", "List", interfaces.ListParameters{Agent: new(tester), Profile: new("dnsmasq")}, refusedByIt},
		{"another agent", "List", interfaces.ListParameters{Agent: new(neutron), Profile: new("probe")}, refusedByIt},
		{"a namespace", "List", interfaces.ListParameters{Agent: new(tester), Profile: new("probe"), NetworkNamespace: new("t-twin")}, fine},
		{"a namespace to authenticate for", "List", interfaces.ListParameters{Agent: new(tester), Profile: new("probe"), NetworkNamespace: new("t-twin-ask")}, authenticate},
		{"another namespace", "List", interfaces.ListParameters{Agent: new(tester), Profile: new("probe"), NetworkNamespace: new("t-twin-no")}, refusedByIt},
		{"one", "List", interfaces.ListParameters{ID: &inID}, fine},
		{"one to authenticate for", "List", interfaces.ListParameters{ID: &askID}, authenticate},
		{"one that is not", "List", interfaces.ListParameters{ID: new("tester.probe.0123456789ab")}, refusedByIt},
		{"profiles", "ListProfiles", interfaces.ListProfilesParameters{Agent: new(tester)}, refusedByIt},
	}
	// A rule sees no namespace that cannot be one. Explain is let in for that, and fails.
	odd := map[string]string{"Explain": "org.varlink.service.InvalidParameter", "Launch": refusedByIt}
	for _, method := range []string{"Explain", "Launch"} {
		calls = append(
			calls,
			twinCall{"here", method, in, fine},
			twinCall{"in the caller's own", method, with(in, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = nil }), fine},
			twinCall{"to authenticate for", method, ask, authenticate},
			twinCall{"elsewhere", method, with(in, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("t-twin-no") }), refusedByIt},
			twinCall{"for another agent", method, with(in, func(p *interfaces.LaunchParameters) { p.Agent = new(neutron) }), refusedByIt},
			twinCall{"of another profile", method, with(in, func(p *interfaces.LaunchParameters) { p.Profile = "dnsmasq" }), refusedByIt},
			twinCall{"with an odd namespace", method, with(in, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("../t-twin") }), odd[method]},
		)
	}
	for _, c := range []struct{ what, id, want string }{
		{"one that is not", "tester.probe.0123456789ab", refusedByIt},
		{"another agent's", "neutron-dhcp.probe.0123456789ab", refusedByIt},
		{"one to authenticate for", askID, authenticate},
		{"one", inID, fine},
	} {
		calls = append(
			calls,
			twinCall{c.what, "Signal", interfaces.SignalParameters{ID: c.id, Signal: "SIGWINCH"}, c.want},
			twinCall{c.what, "Stop", interfaces.StopParameters{ID: c.id}, c.want},
		)
	}
	return calls
}

// TestTwinRule has the real polkit asked the same on both transports: one rule that
// looks at everything has the same calls in, out, or in after authentication, and the
// journal has the same of it. Where polkit knows no pidfds, it is the bus alone.
func TestTwinRule(t *testing.T) {
	begin(t)
	for _, name := range []string{"t-twin", "t-twin-ask", "t-twin-no"} {
		namespace(t, name)
	}
	rules(t, map[string]string{"10-twin.rules": twinRule})
	in, ask := probe(t, "t-twin"), probe(t, "t-twin-ask")
	in.Agent, ask.Agent = new(tester), new(tester)
	u := newUserBy(t, allowed, "ip", "netns", "exec", "t-twin")
	transports := []bool{false, true}
	if polkitVersion(t) < 124 {
		transports = transports[1:] // the host's socket lets nobody in: TestPolkitHostSocket
	}
	results := map[bool][]map[string]string{}
	for _, bus := range transports {
		inID, askID := start(t, tester, in).ID, start(t, tester, ask).ID
		for _, c := range twinCalls(in, ask, inID, askID) {
			results[bus] = append(results[bus], u.twinCall(t, c, bus))
		}
		gone(t, tester, inID)
	}
	if d := cmp.Diff(results[transports[0]], results[true]); d != "" {
		t.Errorf("(-varlink +bus):\n%s", d)
	}
}

// twinCall makes a call, and returns what came of it and what the journal has.
func (u *user) twinCall(t *testing.T, c twinCall, bus bool) map[string]string {
	t.Helper()
	since := now()
	var got frame
	if bus {
		got = u.busCall(t, c.onBus())
		got.Error = onVarlink(got.Error)
	} else {
		got = u.call(t, c.method, c.parameters)
	}
	if got.Error != c.want {
		t.Errorf("%s %s, bus %v: %v, want %q", c.method, c.what, bus, got, c.want)
	}
	result := map[string]string{"call": c.method + " " + c.what, "error": got.Error}
	var entries []entry
	eventually(t, 5*time.Second, fmt.Sprintf("%s %s, bus %v: it is in the journal", c.method, c.what, bus), func() bool {
		entries = entriesSince(t, since, decisionID, "PEER_UID="+strconv.FormatUint(uint64(u.uid), 10))
		return len(entries) > 0 // the caller does not wait for it
	})
	for i, e := range entries {
		for _, name := range []string{
			"METHOD", "DECISION", "AGENT", "PROFILE", "SIDECAR_ID", "AUTHORISED_BY", "POLKIT_ACTION", "POLKIT_VERDICT", "PEER_PID",
		} {
			result[strconv.Itoa(i)+" "+name], _ = e[name].(string)
		}
	}
	return result
}

// onVarlink is the varlink name of an error of D-Bus.
func onVarlink(name string) string {
	err, ok := interfaces.FromDBus(name, func(interfaces.Detail) error { return nil })
	if !ok {
		return name
	}
	row, _, _ := interfaces.ToWire(err)
	return row.Varlink
}
