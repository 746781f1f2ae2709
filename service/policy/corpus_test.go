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

// launches tells the kinds of command lines that are launches, and their profiles.
var launches = map[string]string{
	"dnsmasq":                 "dnsmasq",
	"haproxy":                 "haproxy",
	"haproxy-ovn":             "haproxy",
	"keepalived":              "keepalived",
	"radvd":                   "radvd",
	"template:conntrackd":     "conntrackd",
	"template:dibbler-client": "dibbler-client",
	"template:haproxy":        "haproxy",
	"template:haproxy-host":   "haproxy",
}

// others tells the kinds that are none, and why.
var others = map[string]string{
	"dnsmasq-probe":                    "a question to the program itself: it runs in the agent's container",
	"keepalived-probe":                 "a question to the program itself: it runs in the agent's container",
	"haproxy-lbaas":                    "of neutron-lbaas, a project that is no more",
	"keepalived-state-change":          "it enters namespaces itself: no profile",
	"template:keepalived-state-change": "it enters namespaces itself: no profile",
	"kill-script":                      "stops a sidecar",
	"kill":                             "stops a sidecar",
	"template:conntrackd-ctl":          "a client of the control socket: it runs in the agent's container",
}

// templateValues stand for the names in the lines that are templates.
var templateValues = strings.NewReplacer(
	"{state_path}", "/var/lib/neutron",
	"{ROUTER}", "984c22fd-64b3-4fa1-8ddd-87090f401ce5",
	"{UUID}", "f1f53874-52db-4f62-895b-f3db0688e99d",
	"{NS}", "qrouter-984c22fd-64b3-4fa1-8ddd-87090f401ce5",
	"{HOST}", "compute-1.example.org",
	"{SUBNET}", "0b63b2d6-3c2f-4a53-9a0e-6c4f0d5a5c11",
	"{RI_IFNAME}", "qr-550dc175-c0",
)

// corpusLine is one line of the corpus, ready to be asked for.
type corpusLine struct {
	number  int
	kind    string
	request policy.Request
}

func TestPolicyCorpusIsAccepted(t *testing.T) {
	t.Parallel()
	set, wide := loadCorpusPolicies(t)
	counts := map[string]int{}
	for _, line := range readCorpus(t) {
		counts[line.kind]++
		if launches[line.kind] == "" {
			continue
		}
		switch {
		case truncated(line):
			wantRefusal(t, set, line, 4, "a value must follow it")
			line.request.Arguments = append(line.request.Arguments, "syslog")
		case line.kind == "template:dibbler-client" && line.request.Arguments[0] == "stop":
			wantRefusal(t, set, line, 0, "expected is \"start\"") // the shim makes a Stop of it
			continue
		case inStateDirectory(line):
			wantRefusal(t, set, line, 1, "lies directly in the state directory")
			wantRefusal(t, wide, line, 3, "put the file into another directory")
			continue
		}
		wantAccepted(t, set, line)
	}
	want := map[string]int{
		"dnsmasq": 20, "haproxy": 6, "haproxy-ovn": 2, "keepalived": 3, "radvd": 3,
		"template:conntrackd": 1, "template:haproxy": 2, "template:haproxy-host": 1,
		"dnsmasq-probe": 2, "keepalived-probe": 1, "haproxy-lbaas": 2, "keepalived-state-change": 2,
		"template:keepalived-state-change": 1, "kill-script": 2, "kill": 1, "template:dibbler-client": 2,
		"template:conntrackd-ctl": 6,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("lines of each kind (-want +got):\n%s", diff)
	}
}

// truncated: systemctl cut this line off after -m, so it is no whole launch.
func truncated(line corpusLine) bool {
	last := line.request.Arguments[len(line.request.Arguments)-1]
	return line.kind == "radvd" && last == "-m"
}

// inStateDirectory: old unit tests put files directly into the directory that
// stands for the state directory, as /fake/radvd.conf, and the pid file beside it.
// Where the profile mounts all of that directory, the pid file's place still cannot be
// private.
func inStateDirectory(line corpusLine) bool {
	return slices.ContainsFunc(line.request.Arguments, func(s string) bool {
		return s == "/fake/radvd.pid"
	})
}

func wantAccepted(t *testing.T, set *policy.Set, line corpusLine) {
	t.Helper()
	decision, err := set.Decide(line.request)
	if err != nil {
		t.Errorf("line %d (%s): %v", line.number, line.kind, err)
		return
	}
	if got, want := len(decision.Rules), len(line.request.Arguments); got != want {
		t.Errorf("line %d: %d rules for %d arguments", line.number, got, want)
	}
	if len(decision.PIDFiles) == 0 && decision.Socket == nil {
		t.Errorf("line %d: nothing to wait for", line.number)
	}
}

func wantRefusal(t *testing.T, set *policy.Set, line corpusLine, least int64, reason string) {
	t.Helper()
	_, err := set.Decide(line.request)
	var refused *interfaces.ArgumentNotAllowedError
	if !errors.As(err, &refused) {
		t.Errorf("line %d: got %v, want a refusal", line.number, err)
		return
	}
	if refused.Index < least || !strings.Contains(refused.Reason, reason) {
		t.Errorf("line %d: refused with %+v, want index >= %d and %q", line.number, refused, least, reason)
	}
}

// loadCorpusPolicies returns the shipped profiles with agents for the places
// that the corpus comes from, and the same where the administrator mounts the
// whole state directory for radvd.
func loadCorpusPolicies(t *testing.T) (shipped, wide *policy.Set) {
	t.Helper()
	agents, override := t.TempDir(), t.TempDir()
	for name, dirs := range map[string]string{
		"host": `"/var/lib/neutron"`, "devstack": `"/opt/stack/data/neutron"`, "unit-tests": `"/dhcp", "/fake", "/tmp"`,
	} {
		write(t, filepath.Join(agents, "agents.d", name+".toml"), `
			profiles = ["conntrackd", "dibbler-client", "dnsmasq", "haproxy", "keepalived", "radvd"]
			network-namespaces = ["qdhcp-*", "qrouter-*", "snat-*", "ovnmeta-*"]
			host-network = true
			state-directories = [`+dirs+`]`)
	}
	profile, err := os.ReadFile("profiles.d/radvd.toml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(override, "profiles.d", "radvd.toml"), "mounts = [\"{state}:ro\"]\n"+string(profile))
	profiles := installed(t, "profiles.d")
	return load(t, profiles, agents), load(t, profiles, agents, override)
}

// readCorpus reads the lines; one with alternatives becomes several.
func readCorpus(t *testing.T) []corpusLine {
	t.Helper()
	text, err := os.ReadFile("testdata/neutron-argv.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []corpusLine
	for i, text := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		fields := strings.Split(text, "\t")
		if len(fields) != 3 {
			t.Fatalf("line %d has %d fields", i+1, len(fields))
		}
		kind := fields[0]
		if launches[kind] == "" && others[kind] == "" {
			t.Fatalf("line %d: kind %q is neither a launch nor listed as none", i+1, kind)
		}
		for _, command := range alternatives(templateValues.Replace(fields[2])) {
			lines = append(lines, corpusLine{i + 1, kind, requestOf(kind, splitShell(t, command))})
		}
	}
	return lines
}

func alternatives(command string) []string {
	const both = "ns-metadata-proxy|ovn-metadata-proxy"
	if !strings.Contains(command, both) {
		return []string{command}
	}
	return []string{
		strings.Replace(command, both, "ns-metadata-proxy", 1),
		strings.Replace(command, both, "ovn-metadata-proxy", 1),
	}
}

// requestOf takes off what is around the program: the root helper, the
// namespace, the environment and the program's name.
func requestOf(kind string, argv []string) policy.Request {
	r := policy.Request{Agent: "host", Profile: launches[kind]}
	if argv[0] == "sudo" {
		argv = argv[1:]
	}
	if argv[0] == "neutron-rootwrap" {
		argv = argv[2:]
	}
	if argv[0] == "ip" {
		r.NetworkNamespace = &argv[3]
		argv = argv[4:]
	}
	if argv[0] == "env" {
		_, tag, _ := strings.Cut(argv[1], "=")
		r.ProcessTag = &tag
		argv = argv[2:]
	}
	r.Arguments = argv[1:]
	for _, argument := range r.Arguments {
		switch {
		case strings.Contains(argument, "/opt/stack/"):
			r.Agent = "devstack"
		case strings.Contains(argument, "=/dhcp/"), strings.HasPrefix(argument, "/fake/"), strings.HasPrefix(argument, "/tmp/"):
			r.Agent = "unit-tests"
		}
	}
	return r
}

// splitShell splits at spaces and knows single quotes, which is all that the
// corpus uses.
func splitShell(t *testing.T, s string) []string {
	t.Helper()
	var words []string
	word, open, started := "", false, false
	for _, c := range s {
		switch {
		case c == '\'':
			open, started = !open, true
		case c == ' ' && !open:
			if started {
				words = append(words, word)
			}
			word, started = "", false
		case strings.ContainsRune("\"\\$`", c):
			t.Fatalf("%q needs a real shell", s)
		default:
			word, started = word+string(c), true
		}
	}
	if open {
		t.Fatalf("%q: a quote is open", s)
	}
	if started {
		words = append(words, word)
	}
	return words
}
