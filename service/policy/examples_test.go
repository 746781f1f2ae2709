package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// exampleFor says which of the example agents runs a line of the corpus.
func exampleFor(line corpusLine) string {
	first := slices.IndexFunc(line.request.Arguments, func(s string) bool { return strings.Contains(s, "/var/lib/neutron/") })
	switch {
	case line.kind == "dnsmasq":
		return "neutron-dhcp"
	case line.request.NetworkNamespace == nil && line.kind == "template:haproxy-host":
		return "neutron-metadata"
	case strings.Contains(line.request.Arguments[first], "/ovn-metadata-proxy/"):
		return "neutron-ovn-metadata"
	}
	return "neutron-l3"
}

// leftToAdministrator is the profile that no example agent is granted.
const leftToAdministrator = "dibbler-client"

// TestPolicyExampleSaysWhatToAdd shows that the example for the L3 agent says all
// that must be added for the profile that it is not granted.
func TestPolicyExampleSaysWhatToAdd(t *testing.T) {
	t.Parallel()
	const file = "examples/agents.d/neutron-l3.toml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	request := policy.Request{
		Agent: "neutron-l3", Profile: leftToAdministrator, NetworkNamespace: pointer("qrouter-1"),
		Arguments: []string{"start", "-w", state + "/pd/r:s:qr-1"},
	}
	if _, err := shipped(t).Decide(request); !errors.Is(err, interfaces.ErrNoSuchProfile) {
		t.Errorf("as it is: %v, want ErrNoSuchProfile", err)
	}
	added := strings.NewReplacer(`["conntrackd", `, `["conntrackd", "dibbler-client", `, `["external/pids", `, `["external/pids", "pd", `).Replace(string(text))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "agents.d", "neutron-l3.toml"), added)
	if _, err := load(t, installed(t, "profiles.d"), dir).Decide(request); err != nil {
		t.Errorf("with what it says: %v", err)
	}
}

// TestPolicyExamplesAreWideEnough shows that every launch of the corpus below
// Neutron's own state directory is accepted from the example agent that makes it.
func TestPolicyExamplesAreWideEnough(t *testing.T) {
	t.Parallel()
	set, seen := shipped(t), map[string]int{}
	namespaces := map[string]string{"neutron-dhcp": "qdhcp-1", "neutron-l3": "qrouter-1", "neutron-ovn-metadata": "ovnmeta-1"}
	for _, line := range readCorpus(t) {
		of := func(s string) bool { return strings.Contains(s, "/var/lib/neutron/") }
		if launches[line.kind] == "" || launches[line.kind] == leftToAdministrator || !slices.ContainsFunc(line.request.Arguments, of) {
			continue
		}
		line.request.Agent, line.request.NetworkNamespace = exampleFor(line), nil
		if namespace, ok := namespaces[line.request.Agent]; ok {
			line.request.NetworkNamespace = &namespace
		}
		seen[line.request.Agent]++
		wantAccepted(t, set, line)
	}
	isolated := policy.Request{
		Agent: "neutron-dhcp", Profile: "haproxy", NetworkNamespace: pointer("qdhcp-1"),
		Arguments: []string{"-f", "/var/lib/neutron/ns-metadata-proxy/n.conf"},
	}
	if _, err := set.Decide(isolated); err != nil {
		t.Errorf("a metadata proxy of the DHCP agent: %v", err)
	}
	for _, agent := range set.Agents() {
		if seen[agent.Name] == 0 {
			t.Errorf("no line is for %s", agent.Name)
		}
	}
}

// TestPolicyExamplesKeepApart shows which files of other agents an example agent
// cannot name, above all not as a pid file, which is removed before the launch.
func TestPolicyExamplesKeepApart(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	const of = "outside of the agent's subdirectories"
	for _, test := range []struct {
		agent, profile, namespace, pid string
		before                         []string
	}{
		{"neutron-dhcp", "dnsmasq", "qdhcp-1", "--pid-file=" + state + "/ha_confs/r.pid.keepalived", nil},
		{"neutron-dhcp", "dnsmasq", "qdhcp-1", "--pid-file=" + state + "/external/pids/r.pid.radvd", nil},
		{"neutron-l3", "radvd", "qrouter-1", state + "/dhcp/n/pid", []string{"-p"}},
		{"neutron-l3", "haproxy", "qrouter-1", state + "/dhcp/n/pid", []string{"-f", state + "/ns-metadata-proxy/r.conf", "-p"}},
		{"neutron-ovn-metadata", "haproxy", "ovnmeta-1", state + "/dhcp/n/pid", []string{"-f", state + "/ovn-metadata-proxy/r.conf", "-p"}},
		{"neutron-ovn-metadata", "haproxy", "ovnmeta-1", state + "/external/pids/h.pid.haproxy", []string{"-f", state + "/ovn-metadata-proxy/r.conf", "-p"}},
	} {
		_, err := decideArguments(set, test.agent, test.profile, test.namespace, append(test.before, test.pid))
		if err == nil || !strings.Contains(err.Error(), of) {
			t.Errorf("%s, %s: %v", test.agent, test.pid, err)
		}
	}
}

func TestPolicyWarnsOfAgentsThatReachTheSameFiles(t *testing.T) {
	t.Parallel()
	const head = "profiles = [\"x\"]\nnetwork-namespaces = [\"x-*\"]\n"
	for name, test := range map[string]struct {
		mounts, a, b string
		want         bool
	}{
		"the same":               {``, `["/srv/x"]`, `["/srv/x"]`, true},
		"one in the other":       {``, `["/srv/x/a"]`, `["/srv/y", "/srv/x"]`, true},
		"apart":                  {``, `["/srv/x"]`, `["/srv/xx", "/srv/y"]`, false},
		"parts apart":            {``, `["/srv/x"]` + "\nsubdirectories = [\"a\"]", `["/srv/x"]` + "\nsubdirectories = [\"b\"]", false},
		"a part and all":         {``, `["/srv/x"]` + "\nsubdirectories = [\"a\"]", `["/srv/x"]`, true},
		"a part's part":          {``, `["/srv/x"]` + "\nsubdirectories = [\"a\"]", `["/srv/x/a/b"]`, true},
		"itself and a part":      {``, `["/srv/x"]` + "\nsubdirectories = [\".\"]", `["/srv/x"]` + "\nsubdirectories = [\"b\"]", false},
		"itself and all":         {``, `["/srv/x"]` + "\nsubdirectories = [\".\"]", `["/srv/x"]`, true},
		"mounted by the profile": {`mounts = ["{state}/p:rw"]`, `["/srv/x"]` + "\nsubdirectories = [\"a\"]", `["/srv/x"]` + "\nsubdirectories = [\"b\"]", true},
		"mounted for reading":    {`mounts = ["{state}:ro"]`, `["/srv/x"]` + "\nsubdirectories = [\"a\"]", `["/srv/x"]` + "\nsubdirectories = [\"b\"]", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			agents := filepath.Join(dir, "agents.d")
			write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+test.mounts)
			write(t, filepath.Join(agents, "a.toml"), head+"state-directories = "+test.a)
			write(t, filepath.Join(agents, "b.toml"), head+"state-directories = "+test.b)
			var want []string
			if test.want {
				want = []string{
					agents + "/a.toml:3: state-directories: files there can also be removed and written on behalf of b",
					agents + "/b.toml:3: state-directories: files there can also be removed and written on behalf of a",
				}
			}
			if diff := cmp.Diff(want, load(t, dir).Warnings()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
