//go:build testhost

package test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// admin is the profile probe with NET_ADMIN.
func admin() string {
	return strings.Replace(profileFiles()["probe"], `["NET_RAW"]`, `["NET_ADMIN"]`, 1)
}

// pair makes a veth pair between a namespace and another one, or the host.
func pair(t *testing.T, name, other string) {
	t.Helper()
	argv := []string{"ip", "-n", name, "link", "add", "near", "type", "veth", "peer", "name", "far-" + name, "netns"}
	if other == "" {
		other = "1" // the number of a process
	}
	run(t, append(argv, other)...)
}

// TestHardeningLinkedNamespaces launches where a veth pair leads to the host, to
// another agent's namespace, to one of the agent's own, and nowhere.
func TestHardeningLinkedNamespaces(t *testing.T) {
	begin(t)
	withPolicy(t, "profiles.d", "admin", admin())
	for action, name := range map[string]string{"check": "checks", "warn": "warns", "refuse": "refuses"} {
		withPolicy(t, "agents.d", name, "linked-namespaces = \""+action+"\"\n"+strings.Replace(agentFiles[tester], `["dnsmasq"`, `["admin", "dnsmasq"`, 1))
	}
	for _, name := range []string{"t-alone", "t-near", "t-own", "t-host", "t-other", "t-far", "t-between", "foreign"} {
		namespace(t, name)
	}
	pair(t, "t-near", "t-own")
	pair(t, "t-host", "")
	pair(t, "t-other", "foreign")
	pair(t, "t-far", "t-between")
	pair(t, "t-between", "")
	for name, found := range map[string]string{"t-alone": "", "t-near": "", "t-host": "linked to the host's", "t-other": "linked to foreign", "t-far": "linked to the host's"} {
		t.Run(name, func(t *testing.T) {
			for action, priority := range map[string]string{"check": "6", "warn": "4"} {
				since := now()
				s := start(t, action+"s", asAdmin(t, name))
				lines := entriesSince(t, since, "_SYSTEMD_UNIT="+s.Runtime.Unit, "PRIORITY="+priority)
				if got := mentions(lines, found); got != (found != "") {
					t.Errorf("%s: %d lines of priority %s, one says %q: %v", action, len(lines), priority, found, got)
				}
			}
			p := asAdmin(t, name)
			stopAtEnd(t, "refuses", idOf("refuses", p).String())
			_, err := as(t, "refuses").Launch(minute(t), p)
			if (err == nil) != (found == "") || err != nil && (!errors.Is(err, interfaces.ErrLaunchFailed) || !strings.Contains(err.Error(), found)) {
				t.Errorf("refuse: %v, want %q", err, found)
			}
		})
	}
	// A profile without the capability cannot reach through a link.
	start(t, "refuses", probe(t, "t-host"))
}

// TestHardeningLinkedNamespacesAreReached shows what linked-namespaces is about: through
// a veth pair a payload with NET_ADMIN makes and deletes links of the host, one without
// does not, and where the agent's file says refuse there is no such payload.
func TestHardeningLinkedNamespacesAreReached(t *testing.T) {
	begin(t)
	for profile, want := range map[string]string{"dnsmasq": "ok", "haproxy": "EPERM"} {
		t.Run(profile, func(t *testing.T) {
			a := targetOf(t, profile)
			netns := *a.parameters.NetworkNamespace
			run(t, "ip", "-n", netns, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", "1")
			run(t, "ip", "link", "add", "victim", "type", "veth", "peer", "name", "victim-peer")
			t.Cleanup(func() {
				for _, name := range []string{"victim", "made"} {
					_, _ = output("ip", "link", "delete", name) // the attack may have been faster
				}
			})
			got := a.attack(t, "links", "made", "victim")
			for what, answer := range got {
				if answer != want {
					t.Errorf("%s: %s, want %s", what, answer, want)
				}
			}
			for name, there := range map[string]bool{"made": want == "ok", "victim": want != "ok"} {
				if _, err := output("ip", "link", "show", name); (err == nil) != there {
					t.Errorf("the host's link %s: %v", name, err)
				}
			}
		})
	}
	t.Run("refuse", func(t *testing.T) {
		a := targetOf(t, "dnsmasq")
		text, err := os.ReadFile("/etc/sidecar/agents.d/" + neutron + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		a.agent = "refuses"
		withPolicy(t, "agents.d", a.agent, "linked-namespaces = \"refuse\"\n"+string(text))
		netns := *a.parameters.NetworkNamespace
		run(t, "ip", "-n", netns, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", "1")
		err = refused(t, a.agent, a.parameters, interfaces.ErrLaunchFailed)
		if !strings.Contains(err.Error(), "linked to the host's") {
			t.Errorf("%v", err)
		}
		stopAtEnd(t, a.agent, idOf(a.agent, a.parameters).String())
	})
}

func asAdmin(t *testing.T, netns string) interfaces.LaunchParameters {
	t.Helper()
	p := probe(t, netns)
	p.Profile = "admin"
	return p
}

// mentions reports whether one of the entries is about a link that was found.
func mentions(lines []entry, found string) bool {
	for _, line := range lines {
		text, _ := line["MESSAGE"].(string)
		if strings.Contains(text, "linked to") && strings.Contains(text, found) {
			return true
		}
	}
	return false
}
