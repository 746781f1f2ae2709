package policy_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

const state = "/var/lib/neutron"

func mount(path string, writable bool) document.Mount {
	return document.Mount{Root: state, Path: path, Writable: writable}
}

// private is a directory of the container's own in place of the agent's.
func private(path string, optional bool) document.Mount {
	m := mount(path, true)
	m.Private, m.Optional = true, optional
	return m
}

func file(path string) document.File { return document.File{Root: state, Path: path} }

func TestPolicyDecisionSaysWhatTheContainerSees(t *testing.T) {
	t.Parallel()
	set := withRouter(t)
	const pids = state + "/external/pids/"
	hidden := []document.Mount{
		{Path: "/usr/share/sidecar/haproxy.cfg"},
		mount(".", false), private("dhcp", true), private("external/pids", false), private("ha_confs", true), private("pd", true), private("ra", true),
	}
	for _, test := range []struct {
		name      string
		agent     string
		profile   string
		namespace *string
		arguments []string
		want      policy.Decision
	}{
		{
			name:  "the directory of a file that is written is writable, also for what is only read",
			agent: "neutron-dhcp", profile: "dnsmasq", namespace: pointer("qdhcp-n"),
			arguments: []string{"", "--dhcp-hostsfile=" + state + "/dhcp/n/host", "--pid-file=" + state + "/dhcp/n/pid"},
			want: policy.Decision{
				Key:      state + "/dhcp/n/pid",
				Rules:    []string{"", "--dhcp-hostsfile={path:ro}", "--pid-file={path:rw}"},
				Mounts:   []document.Mount{mount("dhcp/n", true)},
				PIDFiles: []document.File{file("dhcp/n/pid")},
			},
		},
		{
			name: "several directories", agent: "neutron-dhcp", profile: "dnsmasq", namespace: pointer("qdhcp-n"),
			arguments: []string{"--addn-hosts=" + state + "/ns-metadata-proxy/hosts", "--pid-file=" + state + "/dhcp/n/pid", "--dhcp-optsfile=" + state + "/dhcp/opts"},
			want: policy.Decision{
				Key:      state + "/dhcp/n/pid",
				Rules:    []string{"--addn-hosts={path:ro}", "--pid-file={path:rw}", "--dhcp-optsfile={path:ro}"},
				Mounts:   []document.Mount{mount("dhcp", false), mount("dhcp/n", true), mount("ns-metadata-proxy", false)},
				PIDFiles: []document.File{file("dhcp/n/pid")},
			},
		},
		{
			name: "a pid file that the profile knows", agent: "neutron-l3", profile: "haproxy", namespace: pointer("qrouter-r"),
			arguments: []string{"-f", state + "/ns-metadata-proxy/r.conf"},
			want: policy.Decision{
				Configuration: &document.Configuration{File: file("ns-metadata-proxy/r.conf"), Refused: map[string]string{}, PIDFile: "pidfile"},
				Key:           state + "/ns-metadata-proxy/r.conf",
				Rules:         []string{"-f {path:ro}", "-f {path:ro}"},
				Mounts:        slices.Insert(slices.Clone(hidden), 5, mount("ns-metadata-proxy", false)),
				PIDFiles:      []document.File{file("external/pids/r.pid.haproxy")},
			},
		},
		{
			name: "a pid file that the caller names, in the host's network", agent: "neutron-metadata", profile: "haproxy",
			arguments: []string{"-f", state + "/h.example.haproxy.conf", "-p", pids + "h.example.pid.haproxy"},
			want: policy.Decision{
				Configuration: &document.Configuration{File: file("h.example.haproxy.conf"), Refused: map[string]string{}},
				Key:           state + "/h.example.haproxy.conf",
				Rules:         []string{"-f {path:ro}", "-f {path:ro}", "-p {path:pid}", "-p {path:pid}"},
				Mounts:        hidden,
				PIDFiles:      []document.File{file("external/pids/h.example.pid.haproxy")},
			},
		},
		{
			name: "two pid files, the main one first", agent: "neutron-l3", profile: "keepalived", namespace: pointer("snat-r"),
			arguments: []string{"-P", "-f", state + "/ha_confs/r/keepalived.conf", "-r", state + "/ha_confs/r.vrrp", "-p", state + "/ha_confs/r.pid"},
			want: policy.Decision{
				Configuration: &document.Configuration{File: document.File{Root: state, Path: "ha_confs/r/keepalived.conf"}, Refused: refusedBy(t, set, "keepalived")},
				Key:           state + "/ha_confs/r.pid",
				Rules:         []string{"-P", "-f {path:ro}", "-f {path:ro}", "-r {path:pid}", "-r {path:pid}", "-p {path:pid}", "-p {path:pid}"},
				Mounts:        []document.Mount{private("ha_confs", false), mount("ha_confs/r", false)},
				PIDFiles:      []document.File{file("ha_confs/r.pid"), file("ha_confs/r.vrrp")},
			},
		},
		{
			name: "a socket", agent: "router", profile: "conntrackd", namespace: pointer("qrouter-r"),
			arguments: []string{"-d", "-C", state + "/ha_confs/r/conntrackd.conf"},
			want: policy.Decision{
				Key:    state + "/ha_confs/r/conntrackd.conf",
				Rules:  []string{"-d", "-C {path:rw}", "-C {path:rw}"},
				Mounts: []document.Mount{mount("ha_confs/r", true)},
				Socket: pointer(file("ha_confs/r/conntrackd.ctl")),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := set.Decide(policy.Request{
				Agent: test.agent, Profile: test.profile, NetworkNamespace: test.namespace, Arguments: test.arguments,
				ProcessTag: pointer("tag-1"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Agent.Name != test.agent || got.Profile.Name != test.profile {
				t.Errorf("agent %s, profile %s", got.Agent.Name, got.Profile.Name)
			}
			got.Agent, got.Profile = nil, nil
			test.want.User, test.want.Arguments = policy.User{UID: 42435, GID: 42435}, test.arguments
			if diff := cmp.Diff(&test.want, got, withoutGiven); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// refusedBy returns the words that a profile refuses in a configuration.
func refusedBy(t *testing.T, set *policy.Set, name string) map[string]string {
	t.Helper()
	p, ok := set.Profile(name)
	if !ok || p.Configuration == nil || len(p.Configuration.Refused) == 0 {
		t.Fatalf("profile %s refuses nothing", name)
	}
	return p.Configuration.Refused
}

func TestPolicyDecisionErrorsInTheirOrder(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	// Each request keeps the faults of the one before that a later check finds.
	bad := policy.Request{Agent: "Neutron", Profile: "No/Profile", NetworkNamespace: pointer("../x"), ProcessTag: pointer("a\nb"), Arguments: []string{"--"}}
	for _, step := range []struct {
		name string
		want error
		next func()
	}{
		{"agent's syntax", &interfaces.InvalidParameterError{Parameter: "agent"}, func() { bad.Agent = "nobody" }},
		{"profile's syntax", &interfaces.InvalidParameterError{Parameter: "profile"}, func() { bad.Profile = "none" }},
		{"namespace's syntax", &interfaces.InvalidParameterError{Parameter: "networkNamespace"}, func() { bad.NetworkNamespace = pointer("qrouter-x") }},
		{"process tag's syntax", &interfaces.InvalidParameterError{Parameter: "processTag"}, func() { bad.ProcessTag = pointer("a") }},
		{"no such agent", &interfaces.NoSuchAgentError{Agent: "nobody"}, func() { bad.Agent = "neutron-dhcp" }},
		{"no such profile", &interfaces.NoSuchProfileError{Profile: "none"}, func() { bad.Profile = "radvd" }},
		{"profile not granted", &interfaces.NoSuchProfileError{Profile: "radvd"}, func() { bad.Profile = "dnsmasq" }},
		{"namespace of another", &interfaces.NamespaceNotAllowedError{}, func() { bad.NetworkNamespace = nil }},
		{"host's network", &interfaces.NamespaceNotAllowedError{}, func() { bad.NetworkNamespace = pointer("qdhcp-x") }},
		{"argument", &interfaces.ArgumentNotAllowedError{}, func() {}},
	} {
		_, err := set.Decide(bad)
		if !sameError(err, step.want) {
			t.Errorf("%s: got %#v, want %T", step.name, err, step.want)
		}
		step.next()
	}
}

// sameError compares the kinds of two errors, and what they name.
func sameError(got, want error) bool {
	var parameter *interfaces.InvalidParameterError
	if errors.As(want, &parameter) {
		var e *interfaces.InvalidParameterError
		return errors.As(got, &e) && e.Parameter == parameter.Parameter && e.Reason != ""
	}
	var profile *interfaces.NoSuchProfileError
	if errors.As(want, &profile) {
		var e *interfaces.NoSuchProfileError
		return errors.As(got, &e) && e.Profile == profile.Profile
	}
	return errors.Is(got, errors.Unwrap(want))
}

func TestPolicyNamespaces(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	for _, test := range []struct {
		agent string
		name  *string
		want  error // nil: allowed
	}{
		{"neutron-dhcp", pointer("qdhcp-9d2c"), nil},
		{"neutron-dhcp", pointer("qdhcp-"), nil},
		{"neutron-dhcp", pointer("qdhcp"), interfaces.ErrNamespaceNotAllowed},
		{"neutron-dhcp", pointer("xqdhcp-1"), interfaces.ErrNamespaceNotAllowed},
		{"neutron-dhcp", pointer("qrouter-1"), interfaces.ErrNamespaceNotAllowed},
		{"neutron-dhcp", pointer("QDHCP-1"), interfaces.ErrNamespaceNotAllowed},
		{"neutron-dhcp", pointer("qdhcp-/../../x"), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", pointer("qdhcp-*"), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", pointer("qdhcp-\n"), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", pointer(""), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", pointer("."), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", pointer(".."), interfaces.ErrInvalidParameter},
		{"neutron-dhcp", nil, interfaces.ErrNamespaceNotAllowed},
		{"neutron-l3", pointer("snat-1"), nil},
		{"neutron-l3", pointer("fip-1"), nil},
		{"neutron-l3", pointer("qdhcp-1"), interfaces.ErrNamespaceNotAllowed},
		{"neutron-ovn-metadata", pointer("ovnmeta-1"), nil},
		{"neutron-metadata", nil, nil},
		{"neutron-metadata", pointer("qdhcp-1"), interfaces.ErrNamespaceNotAllowed},
	} {
		agent, ok := set.Agent(test.agent)
		if !ok {
			t.Fatalf("no agent %s", test.agent)
		}
		if test.want == nil {
			test.want = interfaces.ErrArgumentNotAllowed // of the next check: the request has no arguments
		}
		_, err := set.Decide(policy.Request{Agent: test.agent, Profile: agent.Profiles[0], NetworkNamespace: test.name})
		if !errors.Is(err, test.want) {
			t.Errorf("%s, %v: got %v, want %v", test.agent, test.name, err, test.want)
		}
	}
}

func TestPolicyNamespaceRefusalSaysWhatIsAccepted(t *testing.T) {
	t.Parallel()
	_, err := decideArguments(shipped(t), "neutron-l3", "radvd", "qdhcp-1", nil)
	want := `network namespace "qdhcp-1" not allowed: it is not the agent's; accepted: qrouter-*, snat-*, fip-*`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPolicyLists(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	var agents, profiles, granted []string
	for _, a := range set.Agents() {
		agents = append(agents, a.Name)
	}
	for _, p := range set.Profiles() {
		profiles = append(profiles, p.Name)
	}
	for _, p := range set.Granted("neutron-l3") {
		granted = append(granted, p.Name)
	}
	got := [][]string{agents, profiles, granted}
	want := [][]string{
		{"neutron-dhcp", "neutron-l3", "neutron-metadata", "neutron-ovn-metadata"},
		{"conntrackd", "dibbler-client", "dnsmasq", "haproxy", "keepalived", "radvd"},
		{"conntrackd", "haproxy", "keepalived", "radvd"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if set.Granted("nobody") != nil {
		t.Error("an unknown agent has profiles")
	}
}

func TestPolicyDescribe(t *testing.T) {
	t.Parallel()
	radvd, _ := shipped(t).Profile("radvd")
	want := interfaces.Profile{
		Name:        "radvd",
		Description: "IPv6 router advertisement daemon of a Neutron router",
		Image:       "localhost/neutron-sidecars:1",
		Command:     []string{"/usr/sbin/radvd", "-n"},
		Instance:    "-p",
		Arguments:   []string{"-C {path:ro}", "-p {path:pid}", "-m syslog", "-u {name}"},
	}
	if diff := cmp.Diff(want, radvd.Describe()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPolicyImageOfAnAgent: an agent's file may name another image, for its own sidecars only.
func TestPolicyImageOfAnAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
	write(t, filepath.Join(dir, "agents.d", "b.toml"), strings.ReplaceAll(goodAgent, "/srv/x", "/srv/b")+"[images]\nx = \"registry.example.org/x:2\"\n")
	set := load(t, dir)
	for agent, want := range map[string]string{"a": "localhost/x:1", "b": "registry.example.org/x:2"} {
		decision, err := set.Decide(policy.Request{
			Agent: agent, Profile: "x", NetworkNamespace: pointer("x-1"),
			Arguments: []string{"-f", map[string]string{"a": "/srv/x/y/z", "b": "/srv/b/y/z"}[agent]},
		})
		if err != nil {
			t.Fatal(err)
		}
		image, _ := set.Image(agent, "x")
		if got := []string{decision.Profile.Image, set.Granted(agent)[0].Image, image}; got[0] != want || got[1] != want || got[2] != want {
			t.Errorf("agent %s: %q, want %s", agent, got, want)
		}
	}
	if image, ok := set.Image("nobody", "x"); !ok || image != "localhost/x:1" {
		t.Errorf("without the agent: %q, %v", image, ok)
	}
	if image, ok := set.Image("a", "y"); ok {
		t.Errorf("without the profile: %q", image)
	}
	if p, _ := set.Profile("x"); p.Image != "localhost/x:1" {
		t.Errorf("the profile itself: %s", p.Image)
	}
}
