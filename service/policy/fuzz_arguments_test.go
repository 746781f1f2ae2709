package policy_test

import (
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

const separator = "\x1e" // between the arguments of a fuzzed list

// FuzzPolicyArguments checks what an accepted list of arguments must satisfy,
// with means of its own: nothing hidden in it, each argument has a rule with the
// same option, and every path stays where it belongs.
func FuzzPolicyArguments(f *testing.F) {
	set := withRouter(f)
	const dir, dhcp = "/var/lib/neutron/ha_confs/r", "/var/lib/neutron/dhcp/n"
	f.Add("dnsmasq", strings.Join([]string{"--no-hosts", "", "--pid-file=" + dhcp + "/pid", "--conf-file=/dev/null", "--txt-record=a b"}, separator))
	f.Add("dnsmasq", strings.Join([]string{"--pid-file=" + dhcp + "/pid", "--dhcp-range=set:a,192.0.2.0,static,255.255.255.0,86400s", "--server=::1"}, separator))
	f.Add("haproxy", strings.Join([]string{"-f", dir + "/x.conf", "-p", dir + "/x.pid"}, separator))
	f.Add("keepalived", strings.Join([]string{"-P", "-f", dir + "/k.conf", "-p", dir + "/k.pid", "-r", dir + ".pid", "-D"}, separator))
	f.Add("radvd", strings.Join([]string{"-C", dir + "/r.conf", "-p", dir + "/r.pid", "-m", "syslog", "-u", "neutron"}, separator))
	f.Add("conntrackd", strings.Join([]string{"-d", "-C", dir + "/c.conf"}, separator))
	f.Fuzz(func(t *testing.T, profile, list string) {
		arguments := strings.Split(list, separator)
		request := policy.Request{Agent: "neutron-l3", Profile: profile, NetworkNamespace: new(string), Arguments: arguments}
		*request.NetworkNamespace = "qrouter-1"
		switch profile {
		case "dnsmasq":
			request.Agent, *request.NetworkNamespace = "neutron-dhcp", "qdhcp-1"
		case "conntrackd":
			request.Agent = "router"
		}
		decision, err := set.Decide(request)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 4096 {
				t.Errorf("error of %d bytes: %q", len(err.Error()), err)
			}
			return
		}
		checkAccepted(t, decision, arguments)
	})
}

func checkAccepted(t *testing.T, d *policy.Decision, arguments []string) {
	t.Helper()
	if len(d.Rules) != len(arguments) {
		t.Fatalf("%d rules for %d arguments", len(d.Rules), len(arguments))
	}
	for i, argument := range arguments {
		checkArgument(t, d, argument, d.Rules[i])
	}
	checkMounts(t, d.Mounts)
	for _, file := range d.PIDFiles {
		checkWritten(t, d, file)
	}
	if d.Socket != nil {
		checkWritten(t, d, *d.Socket)
	}
	if !strings.Contains(strings.Join(arguments, separator), d.Key) || d.Key == "" {
		t.Errorf("key %q is in no argument", d.Key)
	}
}

// checkArgument: an argument has a rule with the same option, hides nothing, and
// names no file elsewhere.
func checkArgument(t *testing.T, d *policy.Decision, argument, rule string) {
	t.Helper()
	if !slices.Contains(d.Profile.Describe().Arguments, rule) {
		t.Errorf("%q: no rule %q", argument, rule)
	}
	if strings.ContainsFunc(argument, unicode.IsControl) || !utf8.ValidString(argument) {
		t.Errorf("%q was accepted", argument)
	}
	option, value, joined := strings.Cut(argument, "=")
	if strings.HasPrefix(argument, "-") && option != strings.FieldsFunc(rule, func(c rune) bool { return c == '=' || c == ' ' })[0] {
		t.Errorf("%q was accepted by %q", argument, rule)
	}
	if !joined {
		value = argument
	}
	if strings.HasPrefix(value, "/") && !strings.Contains(rule, value) && !strings.Contains(rule, "{text}") {
		checkInside(t, value)
		rel := strings.TrimPrefix(value, "/var/lib/neutron/")
		if subs := d.Agent.Subdirectories; len(subs) > 0 && !slices.ContainsFunc(subs, func(sub string) bool {
			return strings.HasPrefix(rel, sub+"/")
		}) {
			t.Errorf("%q was accepted, outside of %q", value, subs)
		}
	}
}

func checkMounts(t *testing.T, mounts []document.Mount) {
	t.Helper()
	for i, m := range mounts {
		if m.Place() != "/var/lib/neutron" {
			checkInside(t, m.Place())
		}
		if i > 0 && mounts[i-1].Place() >= m.Place() {
			t.Errorf("%s is mounted behind %s", m.Place(), mounts[i-1].Place())
		}
	}
}

func checkInside(t *testing.T, p string) {
	t.Helper()
	if path.Clean(p) != p || !strings.HasPrefix(p, "/var/lib/neutron/") {
		t.Errorf("%q was accepted", p)
	}
}

// checkWritten: a file that the process makes must be in a writable mount.
func checkWritten(t *testing.T, d *policy.Decision, f document.File) {
	t.Helper()
	file := path.Join(f.Root, f.Path)
	checkInside(t, file)
	if !slices.ContainsFunc(d.Mounts, func(m document.Mount) bool { return m.Place() == path.Dir(file) && m.Writable }) {
		t.Errorf("%q cannot be written: %+v", file, d.Mounts)
	}
}
