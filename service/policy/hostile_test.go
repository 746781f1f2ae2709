package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

const network = "/var/lib/neutron/dhcp/9d2c"

// decideArguments asks for a sidecar in a namespace of the agent's.
func decideArguments(set *policy.Set, agent, profile, namespace string, arguments []string) (*policy.Decision, error) {
	return set.Decide(policy.Request{Agent: agent, Profile: profile, NetworkNamespace: &namespace, Arguments: arguments})
}

func TestPolicyHostileDnsmasqArguments(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	good := []string{"--no-hosts", "--pid-file=" + network + "/pid"}
	if _, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", good); err != nil {
		t.Fatalf("without the hostile argument: %v", err)
	}
	for _, test := range []struct {
		name     string
		argument string
		rule     string // the nearest one
		reason   string // a part of it
	}{
		{"a program to run", "--dhcp-script=/bin/sh", "", "no rule of profile dnsmasq accepts --dhcp-script"},
		{"a script to run", "--dhcp-luascript=/tmp/x.lua", "", "no rule of profile dnsmasq accepts --dhcp-luascript"},
		{"a configuration from a program", "--conf-script=/bin/sh", "", "no rule of profile dnsmasq accepts --conf-script"},
		{"abbreviated as getopt_long takes it", "--conf-scr=/bin/sh", "", "no rule of profile dnsmasq accepts --conf-scr"},
		{"an allowed option abbreviated", "--pid-f=" + network + "/pid", "--pid-file={path:rw}", "options must be written in full"},
		{"abbreviated to nearly nothing", "--c=/etc/shadow", "--conf-file=/dev/null", "options must be written in full"},
		{"a directory of configurations", "--conf-dir=/tmp", "", "no rule of profile dnsmasq accepts --conf-dir"},
		{"value attached", "-C/etc/shadow", "", "options may not be bundled"},
		{"bundled", "-kC/etc/shadow", "-k", "options must be written one by one"},
		{"short for a script", "-6/bin/sh", "", "options may not be bundled"},
		{"pid file attached to its short option", "-x/var/lib/neutron/dhcp/9d2c/pid", "", "options may not be bundled"},
		{"two arguments for one", "--pid-file", "--pid-file={path:rw}", `expected is "--pid-file="`},
		{"log file outside", "--log-facility=/etc/cron.d/x", "--log-facility={path:rw}", "outside of the agent's state directories (/var/lib/neutron)"},
		{"log to a syslog facility", "--log-facility=local0", "--log-facility={path:rw}", "{path:rw} stands for an absolute path"},
		{"log to stderr", "--log-facility=-", "--log-facility={path:rw}", "{path:rw} stands for an absolute path"},
		{"parent directory", "--dhcp-hostsfile=" + network + "/../../../../../etc/shadow", "--dhcp-hostsfile={path:ro}", "without '.', '..', '//'"},
		{"parent directory that stays inside", "--dhcp-hostsfile=" + network + "/../9d2c/host", "--dhcp-hostsfile={path:ro}", network + "/host"},
		{"double slash", "--dhcp-hostsfile=/var/lib/neutron//etc/host", "--dhcp-hostsfile={path:ro}", "without '.', '..', '//'"},
		{"slash at the end", "--dhcp-hostsfile=" + network + "/", "--dhcp-hostsfile={path:ro}", "a '/' at its end"},
		{"dot", "--dhcp-hostsfile=/var/lib/neutron/./dhcp/host", "--dhcp-hostsfile={path:ro}", "without '.', '..', '//'"},
		{"relative path", "--dhcp-hostsfile=dhcp/host", "--dhcp-hostsfile={path:ro}", "{path:ro} stands for an absolute path"},
		{"relative to a home", "--dhcp-hostsfile=~/host", "--dhcp-hostsfile={path:ro}", "{path:ro} stands for an absolute path"},
		{"only a prefix in common", "--dhcp-hostsfile=/var/lib/neutron2/x/host", "--dhcp-hostsfile={path:ro}", "outside of the agent's state directories"},
		{"the state directory itself", "--dhcp-hostsfile=/var/lib/neutron", "--dhcp-hostsfile={path:ro}", "outside of the agent's state directories"},
		{"directly in the state directory", "--dhcp-hostsfile=/var/lib/neutron/host", "--dhcp-hostsfile={path:ro}", "outside of the agent's subdirectories of /var/lib/neutron (dhcp, ns-metadata-proxy)"},
		{"another agent's directory", "--dhcp-leasefile=/var/lib/neutron/ha_confs/r/leases", "--dhcp-leasefile={path:rw}", "outside of the agent's subdirectories of"},
		{"only a prefix of a subdirectory in common", "--dhcp-leasefile=/var/lib/neutron/dhcp2/n/leases", "--dhcp-leasefile={path:rw}", "outside of the agent's subdirectories of"},
		{"a mount's own notation", "--dhcp-leasefile=/var/lib/neutron/x:rw/leases", "--dhcp-leasefile={path:rw}", "no ':' in its path"},
		{"a specifier of systemd", "--dhcp-leasefile=/var/lib/neutron/%h/leases", "--dhcp-leasefile={path:rw}", `too much: "%h/leases"`},
		{"a variable", "--dhcp-leasefile=/var/lib/neutron/$HOME/leases", "--dhcp-leasefile={path:rw}", `too much: "$HOME/leases"`},
		{"a path part that is too long", "--dhcp-leasefile=/var/lib/neutron/a/" + strings.Repeat("x", 256), "--dhcp-leasefile={path:rw}", "longer than 255 bytes"},
		{"the environment as configuration", "--conf-file=/proc/self/environ", "--conf-file=/dev/null", `accepted: "--conf-file=/dev/null"`},
		{"a configuration in the state directory", "--conf-file=" + network + "/conf", "--conf-file=/dev/null", `accepted: "--conf-file=/dev/null"`},
		{"another user", "--user=root", "", "no rule of profile dnsmasq accepts --user"},
		{"another port", "--port=5353", "", "no rule of profile dnsmasq accepts --port"},
		{"files over TFTP", "--enable-tftp", "", "no rule of profile dnsmasq accepts --enable-tftp"},
		{"root of TFTP", "--tftp-root=/", "", "no rule of profile dnsmasq accepts --tftp-root"},
		{"a file for a domain", "--server=/example.org/etc/shadow", "--server={ip}", "{ip} stands for"},
		{"server with an interface", "--server=192.0.2.1@eth0", "--server={ip}", `too much: "@eth0"`},
		{"a second value", "--domain=example.org,192.0.2.0/24", "--domain={name}", `too much: ",192.0.2.0/24"`},
		{"an option as a value", "--domain=--conf-dir=/tmp", "--domain={name}", "{name} stands for"},
		{"a newline", "--domain=a\nconf-dir=/tmp", "", "control character U+000A at byte 10"},
		{"a NUL", "--domain=a\x00b", "", "control character U+0000 at byte 10"},
		{"an escape", "--txt-record=\x1b[2J", "", "control character U+001B"},
		{"a C1 control character", "--txt-record=a\u0085b", "", "control character U+0085"},
		{"not UTF-8", "--txt-record=\xff", "", "not valid UTF-8"},
		{"what JSON decoders put for it", "--txt-record=\ufffd", "", "U+FFFD"},
		{"text that runs backwards", "--txt-record=\u202egro.elpmaxe", "", "U+202E at byte 13, which is not printable"},
		{"a space without width", "--txt-record=a\u200bb", "", "U+200B"},
		{"a line separator", "--txt-record=a\u2028b", "", "U+2028"},
		{"an en dash", "\u2013-pid-file=" + network + "/pid", "", "U+2013 at byte 0, which only looks like '-'"},
		{"a second dash that is none", "-\u2013pid-file=" + network + "/pid", "", "U+2013 at byte 1, which only looks like '-'"},
		{"a dash inside", "--pid\u2010file=" + network + "/pid", "", "U+2010 at byte 5, which only looks like '-'"},
		{"a minus sign", "\u2212k", "", "U+2212"},
		{"a full-width dash", "\uff0d-no-hosts", "", "U+FF0D"},
		{"letters that look alike", "--n\u043e-hosts", "--no-hosts", "did you mean --no-hosts?"},
		{"other case", "--NO-HOSTS", "--no-hosts", "did you mean --no-hosts?"},
		{"a space before", " --no-hosts", "", "an argument that is not an option"},
		{"a space behind", "--no-hosts ", "--no-hosts", `too much: " "`},
		{"misspelt", "--no-host5", "--no-hosts", "did you mean --no-hosts?"},
		{"a value where none belongs", "--no-hosts=x", "--no-hosts", `too much: "=x"`},
		{"end of options", "--", "", "'--' and what follows it are not accepted"},
		{"a lone dash", "-", "", "no rule of profile dnsmasq accepts -"},
		{"no option at all", "/etc/shadow", "", "an argument that is not an option"},
		{"an address that is none", "--server=999.1.1.1", "--server={ip}", "{ip} stands for"},
		{"an address with a zone", "--server=fe80::1%eth0", "--server={ip}", `too much: "%eth0"`},
		{"a number that overflows", "--dhcp-lease-max=99999999999999999999", "--dhcp-lease-max={int}", "{int} stands for"},
		{"a negative number", "--dhcp-lease-max=-1", "--dhcp-lease-max={int}", "{int} stands for"},
		{"an octal number", "--dhcp-lease-max=010", "--dhcp-lease-max={int}", "{int} stands for"},
		{"a range that is not static", "--dhcp-range=set:a,192.0.2.1,192.0.2.9,60s", "--dhcp-range=set:{name},{ip},static,{duration}", `expected is ",static,"`},
		{"an interface that is too long", "--interface=tap0123456789abcdef", "--interface={interface}", "{interface} stands for"},
		{"every interface", "--bridge-interface=tap0,*", "--bridge-interface={interface},tap*", `expected is ",tap*"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for index := range 3 { // wherever it stands, it is the one that is named
				arguments := slices.Insert(slices.Clone(good), index, test.argument)
				_, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", arguments)
				wantArgumentNotAllowed(t, err, int64(index), test.rule, test.reason)
			}
		})
	}
}

// wantArgumentNotAllowed checks a refusal: where, the nearest rule ("": none),
// and a part of the reason.
func wantArgumentNotAllowed(t *testing.T, err error, index int64, rule, reason string) {
	t.Helper()
	var refused *interfaces.ArgumentNotAllowedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	gotRule := ""
	if refused.Rule != nil {
		gotRule = *refused.Rule
	}
	if refused.Index != index || gotRule != rule {
		t.Errorf("index %d, rule %q; want %d, %q (reason: %s)", refused.Index, gotRule, index, rule, refused.Reason)
	}
	if !strings.Contains(refused.Reason, reason) {
		t.Errorf("reason %q does not say %q", refused.Reason, reason)
	}
	if len(refused.Argument) > 200 {
		t.Errorf("the refusal shows %d bytes of the argument", len(refused.Argument))
	}
}

func TestPolicyHostileArgumentLists(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	pid := "--pid-file=" + network + "/pid"
	for _, test := range []struct {
		name      string
		profile   string
		arguments []string
		index     int64
		rule      string
		reason    string
	}{
		{"100,000 arguments", "dnsmasq", slices.Repeat([]string{"--no-hosts"}, 100_000), 1024, "", "there are 100000 arguments, 1024 are accepted"},
		{"1025 arguments", "dnsmasq", append(slices.Repeat([]string{"-k"}, 1024), pid), 1024, "", "1024 are accepted"},
		{"1 MiB argument", "dnsmasq", []string{pid, "--txt-record=" + strings.Repeat("x", 1<<20)}, 1, "", "it has 1048589 bytes, 4096 are accepted"},
		{"64 KiB in all", "dnsmasq", slices.Repeat([]string{"--txt-record=" + strings.Repeat("x", 4000)}, 17), 16, "", "more than 65536 bytes in all"},
		{"after --", "dnsmasq", []string{pid, "--", "--dhcp-script=/bin/sh"}, 1, "", "'--' and what follows it"},
		{"two pid files", "dnsmasq", []string{pid, "--pid-file=/var/lib/neutron/dhcp/other/pid"}, 1, "--pid-file={path:rw}", "accepted only once"},
		{"the same pid file twice", "dnsmasq", []string{pid, pid}, 1, "--pid-file={path:rw}", "accepted only once"},
		{"no arguments", "dnsmasq", nil, -1, "--pid-file={path:rw}", "--pid-file={path:rw} is required: it tells two instances apart"},
		{"no instance", "haproxy", []string{"-p", network + "/pid"}, -1, "-f {path:ro}", "-f {path:ro} is required"},
		{"instance without a value", "haproxy", []string{"-f"}, 0, "-f {path:ro}", "a value must follow it as a separate argument"},
		{"an option as a value", "haproxy", []string{"-f", "-c"}, 1, "-f {path:ro}", "{path:ro} stands for"},
		{"value attached", "haproxy", []string{"-f" + network + "/x.conf"}, 0, "-f {path:ro}", "-f and its value must be two arguments"},
		{"value with an equals sign", "haproxy", []string{"-f=" + network + "/x.conf"}, 0, "-f {path:ro}", "accepted: \"-f {path:ro}\""},
		{"two configurations", "haproxy", []string{"-f", network + "/a", "-f", network + "/b"}, 3, "-f {path:ro}", "accepted only once"},
		{"a directory of configurations outside", "haproxy", []string{"-f", "/etc/haproxy"}, 1, "-f {path:ro}", "outside of the agent's state directories"},
		{"haproxy's way to take over from a process", "haproxy", []string{"-f", network + "/a", "-sf", "1"}, 2, "", "options may not be bundled"},
		{"a file that is only an extension", "haproxy", []string{"-f", "/var/lib/neutron/ns-metadata-proxy/.conf"}, 1, "-f {path:ro}", "something before the extension"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := decideArguments(set, "neutron-dhcp", test.profile, "qdhcp-9d2c", test.arguments)
			wantArgumentNotAllowed(t, err, test.index, test.rule, test.reason)
		})
	}
}

func TestPolicyHostileRouterArguments(t *testing.T) {
	t.Parallel()
	set := withRouter(t)
	const dir = "/var/lib/neutron/ha_confs/r"
	for _, test := range []struct {
		name      string
		profile   string
		arguments []string
		index     int64
		rule      string
		reason    string
	}{
		{"one pid file for two processes", "keepalived", []string{"-p", dir + "/p", "-r", dir + "/p"}, 3, "-r {path:pid}", "another pid file has the same path"},
		{"a pid file is missing", "keepalived", []string{"-p", dir + "/p"}, -1, "-r {path:pid}", "-r {path:pid} is required: it names the pid file"},
		{"two pid files of the second process", "keepalived", []string{"-p", dir + "/p", "-r", dir + "/q", "-r", dir + "/s"}, 5, "-r {path:pid}", "accepted only once"},
		{"checks of other hosts", "keepalived", []string{"-C", "-p", dir + "/p"}, 0, "", "accepts -C"},
		{"pid file outside", "keepalived", []string{"-p", "/run/x/p", "-r", dir + "/q"}, 1, "-p {path:pid}", "outside of"},
		{"log to a file", "radvd", []string{"-m", "logfile"}, 1, "-m syslog", `expected is "syslog"`},
		{"user with an option in it", "radvd", []string{"-u", "-n"}, 1, "-u {name}", "{name} stands for"},
		{"chroot", "radvd", []string{"-t", "/"}, 0, "", "accepts -t"},
		{"a question to the daemon", "conntrackd", []string{"-C", dir + "/conntrackd.conf", "-n"}, 2, "", "accepts -n"},
		{"bundled", "conntrackd", []string{"-dC", dir + "/conntrackd.conf"}, 0, "-d", "options must be written one by one"},
		{"directly in the state directory", "conntrackd", []string{"-C", "/var/lib/neutron/conntrackd.conf"}, 1, "-C {path:rw}", `let the administrator add "{state}:rw"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := "neutron-l3"
			if test.profile == "conntrackd" {
				agent = "router"
			}
			_, err := decideArguments(set, agent, test.profile, "qrouter-r", test.arguments)
			wantArgumentNotAllowed(t, err, test.index, test.rule, test.reason)
		})
	}
}

func TestPolicyRefusalShowsTheArgumentCut(t *testing.T) {
	t.Parallel()
	argument := "--nonsense=" + strings.Repeat("ä", 500)
	_, err := decideArguments(shipped(t), "neutron-dhcp", "dnsmasq", "qdhcp-x", []string{argument})
	var refused *interfaces.ArgumentNotAllowedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if want := "--nonsense=" + strings.Repeat("ä", 93) + "…"; refused.Argument != want {
		t.Error(cmp.Diff(want, refused.Argument))
	}
}
