//go:build testhost

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func TestPolicyRefusesHostileArguments(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	if err := os.Symlink("/etc", n.file("link")); err != nil {
		t.Fatal(err)
	}
	own := len(n.arguments())
	for argument, reason := range map[string]string{
		"--dhcp-script=/bin/sh":     "no rule",
		"--conf-script=/bin/sh":     "no rule",
		"--conf-dir=" + n.directory: "no rule",
		"--conf-scr=/bin/sh":        "--conf-scr",
		"-C/etc/shadow":             "no rule",
		"--":                        "'--'",
		"--log-facility=/var/log/x": "state director",
		"--addn-hosts=" + n.directory + "/../../../shadow": "..",
		"--addn-hosts=/etc/shadow":                         "state director",
		"--addn-hosts=" + neutronDirectory + "2/x":         "state director",
		"\u2013\u2013no-hosts":                             "hyphen",
		"--domain=a\nb":                                    "control",
		"--domain=a\x00b":                                  "control",
		"--domain=\u202eb":                                 "",
		"--pid-file=" + n.file("other"):                    "",
		"--user=root":                                      "no rule",
	} {
		var refusal *interfaces.ArgumentNotAllowedError
		if !errors.As(refused(t, neutron, n.parameters(argument), interfaces.ErrArgumentNotAllowed), &refusal) {
			t.Errorf("%q: refused without parameters", argument)
			continue
		}
		if refusal.Index != int64(own) || refusal.Reason == "" || !strings.Contains(refusal.Reason, reason) {
			t.Errorf("%q: index %d, reason %q; want %d and %q", argument, refusal.Index, refusal.Reason, own, reason)
		}
	}
	// A symbolic link is found where it is used.
	link := n.parameters("--addn-hosts=" + n.file("link") + "/shadow")
	if err := refused(t, neutron, link, interfaces.ErrLaunchFailed); !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link out of the state directory: %v", err)
	}
	stopAllAtEnd(t, neutron)
}

func TestPolicyEndsHugeRequestsCleanly(t *testing.T) {
	begin(t)
	for name, argument := range map[string]string{
		"100,000 arguments":    strings.Repeat(`"-k",`, 100_000) + `"-k"`,
		"an argument of 1 MiB": `"` + strings.Repeat("x", 1<<20) + `"`,
	} {
		w := dial(t, socketOf(neutron), time.Minute)
		text := `{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"dnsmasq","networkNamespace":"qdhcp-x","arguments":[` + argument + `]}}`
		_, _ = w.conn.Write(append([]byte(text), 0)) // it may hang up before it has read all
		if f, err := w.receive(); err == nil && f.Error == "" {
			t.Errorf("%s: accepted", name)
		}
	}
	w := dial(t, socketOf(neutron), time.Minute)
	if err := w.send(launchOf(interfaces.LaunchParameters{
		Profile: "dnsmasq", NetworkNamespace: new("qdhcp-x"), Arguments: strings.Split(strings.Repeat("-k ", 30_000), " "),
	})); err != nil {
		t.Fatal(err)
	}
	if _, err := w.launched(); !errors.Is(err, interfaces.ErrArgumentNotAllowed) {
		t.Errorf("30,000 arguments that fit into a message: %v", err)
	}
	for name, text := range map[string][]byte{
		"no JSON": []byte("}\x00"), "unknown key": []byte(`{"method":"x.y","nonsense":1}` + "\x00"),
		"no end": bytes.Repeat([]byte(" "), 300<<10),
	} {
		w := dial(t, socketOf(neutron), time.Minute)
		_, _ = w.conn.Write(text)
		if f, err := w.receive(); err == nil {
			t.Errorf("%s: answered with %+v", name, f)
		}
	}
	if _, err := as(t, neutron).Info(minute(t)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestPolicyHidesOtherAgents(t *testing.T) {
	begin(t)
	namespace(t, "t-mine")
	p := probe(t, "t-mine")
	s := start(t, tester, p)
	other := as(t, limited)
	for _, id := range []string{s.ID, "tester.probe.0123456789ab"} {
		want := fmt.Sprintf("no such sidecar: %q", id)
		_, getErr := other.Get(minute(t), id)
		_, stopErr := other.Stop(minute(t), interfaces.StopParameters{ID: id})
		signalErr := other.Signal(minute(t), interfaces.SignalParameters{ID: id, Signal: "SIGKILL"})
		for what, err := range map[string]error{"get": getErr, "stop": stopErr, "signal": signalErr} {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", what, err, want)
			}
		}
	}
	if all, err := other.List(minute(t), interfaces.ListParameters{}); err != nil || len(all) != 0 {
		t.Errorf("listed %v, %v", all, err)
	}
	for _, agent := range []string{tester, "there-is-none"} {
		q := p
		q.Agent = &agent
		if _, err := other.Launch(minute(t), q); err == nil || err.Error() != fmt.Sprintf("no such agent: %q", agent) {
			t.Errorf("launch for %s: %v", agent, err)
		}
	}
	refused(t, limited, interfaces.LaunchParameters{Profile: "dnsmasq", Arguments: p.Arguments, NetworkNamespace: p.NetworkNamespace}, interfaces.ErrNoSuchProfile)
	checkRunning(t, get(t, tester, s.ID), p)
}

// letInByNobody reports whether it is polkit's refusal: there is no rule for the
// caller, or no way to ask.
func letInByNobody(text string) bool {
	return text == interfaces.ErrInteractiveAuthenticationRequired.Error() ||
		strings.HasPrefix(text, interfaces.ErrPermissionDenied.Error()+": polkit")
}

func TestPolicyLetsNobodyInButRootAndAgents(t *testing.T) {
	begin(t)
	namespace(t, "t-nobody")
	p := probe(t, "t-nobody")
	p.Agent = new(tester)
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	if got := callFrom(t, foreignCall{hostSocket, p}, nobody...); !letInByNobody(got.Error) {
		t.Errorf("nobody on the host's socket: %q", got.Error)
	}
	if got := callFrom(t, foreignCall{socketOf(tester), p}, nobody...); !strings.Contains(got.Error, "permission denied") || letInByNobody(got.Error) {
		t.Errorf("nobody on an agent's socket: %q, want that it cannot connect", got.Error)
	}
	root := callFrom(t, foreignCall{hostSocket, p})
	if root.Error != "" {
		t.Fatalf("root on the host's socket: %s", root.Error)
	}
	stopAtEnd(t, tester, root.Sidecar.ID)
	checkRunning(t, root.Sidecar, p)
}
