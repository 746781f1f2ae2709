package policy_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// withUser loads a profile and an agent, each with one more line.
func withUser(t *testing.T, profile, agent string) (*policy.Set, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), profile+"\n"+goodProfile)
	write(t, filepath.Join(dir, "agents.d", "a.toml"), agent+"\n"+goodAgent)
	return policy.Load(dir)
}

// TestHardeningSidecarUser shows as whom a payload runs, and who decides it: the
// agent's file, or a profile that asks for root.
func TestHardeningSidecarUser(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		profile, agent string
		want           string
		warning        string
	}{
		"nothing is said":      {"", "", "42435:42435", ""},
		"a number":             {"", "sidecar-user = 123456", "123456:123456", ""},
		"a number with a name": {"", "sidecar-user = 65534", "65534:65534", ""},
		"a name":               {"", `sidecar-user = "nobody"`, "65534:65534", ""},
		"root by number":       {"", "sidecar-user = 0", "0:0", "agents.d/a.toml:1: sidecar-user: the agent's sidecars run as the host's user 0"},
		"root by name":         {"", `sidecar-user = "root"`, "0:0", "sidecar-user"},
		"a profile for root":   {`user = "root"`, "sidecar-user = 5", "0:0", "sidecars of profile x run as the host's user 0"},
	} {
		set, err := withUser(t, test.profile, test.agent)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		agent, _ := set.Agent("a")
		profile, _ := set.Profile("x")
		if got := agent.UserOf(profile).String(); got != test.want {
			t.Errorf("%s: it runs as %s, want %s", name, got, test.want)
		}
		warned := slices.ContainsFunc(set.Warnings(), func(w string) bool { return test.warning != "" && strings.Contains(w, test.warning) })
		if warned != (test.warning != "") || test.warning == "" && len(set.Warnings()) > 0 {
			t.Errorf("%s: warnings %q, want %q", name, set.Warnings(), test.warning)
		}
	}
}

func TestHardeningSidecarUserThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ profile, agent, want string }{
		"negative":         {"", "sidecar-user = -1", "sidecar-user: -1 is not between 0 and 2147483647"},
		"too large":        {"", "sidecar-user = 2147483648", "is not between"},
		"unknown":          {"", `sidecar-user = "no-such-user"`, `"no-such-user" is not a user of this host`},
		"a number as text": {"", `sidecar-user = "42435"`, "give its number without quotes"},
		"a list":           {"", "sidecar-user = [1]", "neither a user's number nor a user's name"},
		"a fraction":       {"", "sidecar-user = 1.5", "neither a user's number nor a user's name"},
		"profile":          {`user = "nobody"`, "", `user: "nobody" is not "root"`},
		"environment":      {`environment = ["a=b"]`, "", `"a=b" is not NAME=value`},
		"variable of ours": {`environment = ["PROCESS_TAG=x"]`, "", "PROCESS_TAG is set by the service"},
		"variable twice":   {`environment = ["A=1", "A=2"]`, "", "A is listed twice"},
		"links":            {"", `linked-namespaces = "forbid"`, `"forbid" is not one of`},
		"ignored file":     {`ignored-arguments = ["-z {path:ro}"]`, "", "cannot have a path hole"},
		"ignored twice":    {`ignored-arguments = ["-z {name}", "-z {name}"]`, "", "ignored-arguments[1]"},
	} {
		if _, err := withUser(t, test.profile, test.agent); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

// TestHardeningIgnoredArguments shows that the program does not get an argument that
// its profile ignores, and that it is checked all the same.
func TestHardeningIgnoredArguments(t *testing.T) {
	t.Parallel()
	set := load(t, installed(t, "profiles.d"), installed(t, "examples/agents.d"))
	arguments := []string{"-C", state + "/ra/r.radvd.conf", "-p", state + "/external/pids/r.pid.radvd", "-m", "syslog", "-u", "neutron"}
	d, err := decideArguments(set, "neutron-l3", "radvd", "qrouter-r", arguments)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Arguments, arguments[:6]) || len(d.Rules) != len(arguments) {
		t.Errorf("it gets %q by the rules %q", d.Arguments, d.Rules)
	}
	arguments[7] = "-x"
	if _, err := decideArguments(set, "neutron-l3", "radvd", "qrouter-r", arguments); !errors.Is(err, interfaces.ErrArgumentNotAllowed) {
		t.Errorf("a wrong value: %v", err)
	}
}

// TestHardeningPrivateStaysPrivate names files in directories that a profile hides, or
// in whose place the process gets an empty one: the directory is never shown.
func TestHardeningPrivateStaysPrivate(t *testing.T) {
	t.Parallel()
	set := withRouter(t)
	keepalived := func(f, p, r string) []string {
		return []string{"-P", "-f", state + "/" + f, "-p", state + "/" + p, "-r", state + "/" + r}
	}
	for name, test := range map[string]struct {
		agent, profile string
		arguments      []string
		want           string
	}{
		"haproxy, configuration in external/pids": {"everything", "haproxy", []string{"-f", state + "/external/pids/x.conf"}, "argument 1 "},
		"haproxy, configuration in dhcp":          {"everything", "haproxy", []string{"-f", state + "/dhcp/x.conf"}, "argument 1 "},
		"haproxy, below dhcp":                     {"everything", "haproxy", []string{"-f", state + "/dhcp/n/x.conf"}, "hides /var/lib/neutron/dhcp"},
		"haproxy, below, and a pid file there":    {"everything", "haproxy", []string{"-f", state + "/dhcp/n/x.conf", "-p", state + "/dhcp/pid"}, "hides /var/lib/neutron/dhcp"},
		"haproxy, pid file in the state directory": {
			"everything", "haproxy", []string{"-f", state + "/ns-metadata-proxy/x.conf", "-p", state + "/x.pid"}, "argument 3 ",
		},
		"keepalived, all in one directory":  {"router", "keepalived", keepalived("ha_confs/r/k", "ha_confs/r/p", "ha_confs/r/v"), "argument 4 "},
		"keepalived, one pid file there":    {"router", "keepalived", keepalived("ha_confs/r/k", "ha_confs/p", "ha_confs/r/v"), "argument 6 "},
		"keepalived, configuration of many": {"router", "keepalived", keepalived("ha_confs/k", "ha_confs/r.p", "ha_confs/r.v"), "argument 4 "},
		"radvd, all in one directory": {
			"everything", "radvd", []string{"-C", state + "/ra/r.conf", "-p", state + "/ra/r.pid", "-m", "syslog"}, "argument 3 ",
		},
	} {
		_, err := decideArguments(set, test.agent, test.profile, "qrouter-r", test.arguments)
		if !errors.Is(err, interfaces.ErrArgumentNotAllowed) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "another directory") {
			t.Errorf("%s: error %v, want a refusal of %s", name, err, test.want)
		}
	}
}
