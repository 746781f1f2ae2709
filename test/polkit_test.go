//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// How a call of the host's socket ends.
const (
	fine         = ""
	refusedByIt  = "org.varlink.service.PermissionDenied"
	authenticate = "io.systemd.InteractiveAuthenticationRequired"
)

// byName lets one user do everything and another nothing.
const byName = `polkit.addRule(function(action, subject) {
	if (action.id.indexOf("io.tripleo.sidecar.") != 0) { return polkit.Result.NOT_HANDLED; }
	if (subject.user == "t-allowed") { return polkit.Result.YES; }
	if (subject.user == "t-denied") { return polkit.Result.NO; }
	return polkit.Result.NOT_HANDLED;
});
`

// everyMethod returns the parameters of a call of each method that is about the
// sidecar or one like it. Stop comes last.
func everyMethod(p interfaces.LaunchParameters, id string) []request {
	p.Agent = new(tester)
	return []request{
		{Method: "Launch", Parameters: p},
		{Method: "Explain", Parameters: p},
		{Method: "List", Parameters: interfaces.ListParameters{}},
		{Method: "List", Parameters: interfaces.ListParameters{ID: &id}},
		{Method: "ListProfiles", Parameters: interfaces.ListProfilesParameters{}},
		{Method: "Monitor", Parameters: interfaces.MonitorParameters{}},
		{Method: "Signal", Parameters: interfaces.SignalParameters{ID: id, Signal: "SIGWINCH"}},
		{Method: "Stop", Parameters: interfaces.StopParameters{ID: id}},
	}
}

// TestPolkitHostSocket has every method called by every kind of user.
func TestPolkitHostSocket(t *testing.T) {
	begin(t)
	namespace(t, "t-polkit")
	rules(t, map[string]string{
		"10-test.rules":      byName,
		"50-operators.rules": exampleRule(t, "50-sidecar-operators.rules"),
	})
	pidfds := polkitVersion(t) >= 124
	for uid, c := range map[uint32]struct{ launch, others string }{
		0:        {fine, fine},
		allowed:  {fine, fine},
		denied:   {refusedByIt, refusedByIt},
		operator: {authenticate, fine},
		stranger: {authenticate, authenticate},
		noPasswd: {authenticate, authenticate},
	} {
		u := newUser(t, uid)
		p := probe(t, "t-polkit")
		s := start(t, tester, p)
		for _, call := range everyMethod(p, s.ID) {
			want := c.others
			if call.Method == "Launch" {
				want = c.launch
			}
			if uid != 0 && !pidfds {
				want = refusedByIt
			}
			got := u.call(t, call.Method, call.Parameters)
			if got.Error != want {
				t.Errorf("user %d, %s: %v, want %q", uid, call.Method, got, want)
			}
			if uid != 0 && !pidfds && !(strings.Contains(reason(got), "124") && strings.Contains(reason(got), "io.tripleo.Sidecar1")) {
				t.Errorf("user %d, %s: the reason is %q; want what is too old, and that D-Bus works", uid, call.Method, reason(got))
			}
		}
		if _, err := as(t, tester).Get(minute(t), s.ID); (err == nil) != (uid != 0 && (!pidfds || c.others != fine)) {
			t.Errorf("user %d: afterwards %v", uid, err)
		}
	}
}

func TestPolkitDecisionsAreInTheJournal(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	rules(t, map[string]string{"10-test.rules": byName})
	since := now()
	id := "tester.probe.0123456789ab"
	newUser(t, denied).call(t, "Stop", interfaces.StopParameters{ID: id})
	newUser(t, stranger).call(t, "Stop", interfaces.StopParameters{ID: id})
	// Of who has looked a hundred times in another test, nothing shows for 10 s.
	looker := newUser(t, allowed)
	eventually(t, 15*time.Second, "what a user was allowed is in the journal", func() bool {
		looker.call(t, "List", interfaces.ListParameters{Agent: new(tester)})
		return len(entriesSince(t, since, decisionID, "AUTHORISED_BY=polkit", fmt.Sprintf("PEER_UID=%d", allowed))) > 0
	})
	for uid, want := range map[uint32]map[string]string{
		denied:   {"METHOD": "Stop", "DECISION": "refused", "POLKIT_ACTION": "io.tripleo.sidecar.stop", "POLKIT_VERDICT": "denied", "SIDECAR_ID": id},
		stranger: {"METHOD": "Stop", "DECISION": "refused", "POLKIT_ACTION": "io.tripleo.sidecar.stop", "POLKIT_VERDICT": "needs-authentication", "SIDECAR_ID": id},
		allowed:  {"METHOD": "List", "DECISION": "allowed", "POLKIT_ACTION": "io.tripleo.sidecar.inspect", "POLKIT_VERDICT": "authorised", "AGENT": tester},
	} {
		entries := entriesSince(t, since, decisionID, "AUTHORISED_BY=polkit", "PEER_UID="+strconv.FormatUint(uint64(uid), 10))
		if len(entries) != 1 {
			t.Errorf("user %d: %d entries", uid, len(entries))
			continue
		}
		for name, value := range want {
			if entries[0][name] != value {
				t.Errorf("user %d: %s=%v, want %s", uid, name, entries[0][name], value)
			}
		}
	}
}

// TestPolkitRulesSeeTheDetails has the example of a service user that may only
// restart the DHCP servers of one agent; once as it is, once for a user without an
// entry in passwd.
func TestPolkitRulesSeeTheDetails(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	n := bareNetwork(t)
	namespace(t, "t-healer")
	rules(t, map[string]string{
		"50-named.rules":    exampleRule(t, "50-sidecar-restart-dhcp.rules"),
		"50-numbered.rules": exampleRule(t, "50-sidecar-restart-dhcp.rules", "dhcp-healer", "42435"),
	})
	other := start(t, tester, probe(t, "t-healer"))
	for _, uid := range []uint32{healer, noPasswd} {
		u := newUser(t, uid)
		mine := n.parameters()
		mine.Agent = new(neutron)
		first := launchedBy(t, u, mine)
		stopAtEnd(t, neutron, first.ID)
		again := launchedBy(t, u, mine)
		if *again.Runtime.ProcessID == *first.Runtime.ProcessID {
			t.Error("it was not started again")
		}
		checkRunning(t, again, mine)
		for what, c := range map[string]struct {
			method     string
			parameters any
			want       string
		}{
			"see it":             {"List", interfaces.ListParameters{ID: &first.ID}, fine},
			"signal it":          {"Signal", interfaces.SignalParameters{ID: first.ID, Signal: "SIGHUP"}, fine},
			"another one":        {"Stop", interfaces.StopParameters{ID: other.ID}, refusedByIt},
			"one that is not":    {"Stop", interfaces.StopParameters{ID: "neutron-dhcp.dnsmasq.0123456789ab"}, refusedByIt},
			"see all":            {"List", interfaces.ListParameters{}, refusedByIt},
			"see all of it":      {"List", interfaces.ListParameters{Agent: new(neutron), Profile: new("dnsmasq")}, refusedByIt},
			"another agent":      {"Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Agent = new(tester) }), refusedByIt},
			"another profile":    {"Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Profile = "haproxy" }), refusedByIt},
			"another namespace":  {"Launch", with(mine, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("t-healer") }), refusedByIt},
			"the host's own":     {"Launch", with(mine, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = nil }), refusedByIt},
			"beyond the profile": {"Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Arguments = []string{"--dhcp-script=/bin/sh"} }), "io.tripleo.Sidecar.ArgumentNotAllowed"},
		} {
			if got := u.call(t, c.method, c.parameters); got.Error != c.want {
				t.Errorf("user %d, %s: %v, want %q", uid, what, got, c.want)
			}
		}
		if got := u.call(t, "Stop", interfaces.StopParameters{ID: first.ID}); got.Error != fine {
			t.Errorf("user %d, stop it: %v", uid, got)
		}
		gone(t, neutron, first.ID)
	}
}

func with(p interfaces.LaunchParameters, change func(*interfaces.LaunchParameters)) interfaces.LaunchParameters {
	change(&p)
	return p
}

func launchedBy(t *testing.T, u *user, p interfaces.LaunchParameters) *interfaces.Sidecar {
	t.Helper()
	f := u.call(t, "Launch", p)
	var reply interfaces.LaunchReply
	if err := json.Unmarshal(f.Parameters, &reply); err != nil || f.Error != "" {
		t.Fatalf("user %d: launch: %v", u.uid, f)
	}
	return &reply.Sidecar
}

// TestPolkitConnectionOfAProcessThatHasGone has somebody who may do everything
// connect, hand the connection to somebody else, and end. The other one may have
// the number of the one who has gone.
func TestPolkitConnectionOfAProcessThatHasGone(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	namespace(t, "t-gone")
	rules(t, map[string]string{"10-test.rules": byName})
	s := start(t, tester, probe(t, "t-gone"))
	for _, reuse := range []bool{false, true} {
		w := handOver(t, newUser(t, allowed), told{}, reuse)
		if err := w.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := w.send(request{Method: interfaces.Name + ".Stop", Parameters: interfaces.StopParameters{ID: s.ID}}); err != nil {
			t.Fatal(err)
		}
		if f, err := w.receive(); err != nil || f.Error != refusedByIt {
			t.Errorf("number in use again %v: %v, %v; want a refusal", reuse, f, err)
		}
	}
	checkRunning(t, get(t, tester, s.ID), interfaces.LaunchParameters{Arguments: s.Context.Arguments})
}
