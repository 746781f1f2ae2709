package main

import (
	"bytes"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestShimCallsGoWhereTheyBelong(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]call{
		"dnsmasq --no-hosts --pid-file=/x":                   toService,
		"dnsmasq":                                            toService,
		"dnsmasq --test --local-service":                     toReal,
		"dnsmasq --local-service --test":                     toReal,
		"dnsmasq --version":                                  toReal,
		"dnsmasq -v":                                         toReal,
		"dnsmasq --help dhcp":                                toReal,
		"dnsmasq -w":                                         toReal,
		"dnsmasq --domain=--test":                            toService,
		"haproxy -f /c":                                      toService,
		"haproxy -f /c -p /p":                                toService,
		"haproxy -f /c -c":                                   toReal,
		"haproxy -v":                                         toReal,
		"haproxy -vv":                                        toReal,
		"keepalived -P -f /c -p /p -r /r -D":                 toService,
		"keepalived --version":                               toReal,
		"keepalived -v":                                      toReal,
		"keepalived -t -f /c":                                toReal,
		"keepalived --config-test=/o -f /c":                  toReal,
		"keepalived -h":                                      toReal,
		"radvd -C /c -p /p -m syslog -u x":                   toService,
		"radvd -C /c -c":                                     toReal,
		"radvd --version":                                    toReal,
		"radvd -h":                                           toReal,
		"conntrackd -d -C /c":                                toService,
		"conntrackd -C /c -d":                                toService,
		"conntrackd":                                         toReal,
		"conntrackd -C /c -n":                                toReal,
		"conntrackd -C /c -k":                                toReal,
		"conntrackd -C /c -c":                                toReal,
		"conntrackd -C /c -f internal":                       toReal,
		"conntrackd -C /c -R":                                toReal,
		"conntrackd -C /c -B":                                toReal,
		"conntrackd -C /c -t":                                toReal,
		"conntrackd -C /c -s":                                toReal,
		"conntrackd -C /c -i":                                toReal,
		"conntrackd -C /c -e":                                toReal,
		"conntrackd -d -C /c -k":                             toReal,
		"dibbler-client start -w /w":                         toService,
		"dibbler-client stop -w /w":                          toStop,
		"dibbler-client status":                              toReal,
		"dibbler-client run -w /w":                           toReal,
		"dibbler-client":                                     toReal,
		"neutron-keepalived-state-change --router_id=1":      toService,
		"neutron-keepalived-state-change --router_id 1 --x":  toService,
		"neutron-keepalived-state-change --help":             toReal,
		"neutron-keepalived-state-change --version --help=1": toReal,
	} {
		words := strings.Fields(line)
		if got := programs[words[0]].what(words[1:]); got != want {
			t.Errorf("%s: %d, want %d", line, got, want)
		}
	}
}

func TestShimProgramsCanBeProfiles(t *testing.T) {
	t.Parallel()
	for name := range programs {
		if !interfaces.ValidName(name) {
			t.Errorf("%q cannot be a profile", name)
		}
	}
	for script, targets := range scripts {
		for _, name := range targets {
			if _, ok := programs[name]; !ok {
				t.Errorf("%s signals %s, which is no program here", script, name)
			}
		}
	}
}

func TestShimNameThatNobodyKnowsIsRefused(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := run([]string{"/usr/sbin/bogus", "x"}, &stdout, &stderr)
	if code != exitUsage || !strings.HasPrefix(stderr.String(), `bogus: sidecar: "bogus" is not a program or kill script of the shim`) {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
	if code := run(nil, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "dnsmasq-kill") {
		t.Errorf("without a name: exit code %d, %q", code, stdout.String())
	}
}

func TestShimGuardKnowsTheSameProcessAndItsChild(t *testing.T) {
	t.Parallel()
	for guard, want := range map[string]bool{
		"": false, "dnsmasq": false, "dnsmasq:": false, "dnsmasq:9": false, "haproxy:5": false,
		"dnsmasq:5": true, "dnsmasq:4": true,
	} {
		if got := isGuarded(guard, "dnsmasq", 5, 4); got != want {
			t.Errorf("%q: %t", guard, got)
		}
	}
}
