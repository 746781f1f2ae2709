//go:build testhost

package test

import (
	"errors"
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
