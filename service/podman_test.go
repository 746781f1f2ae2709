package service

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
)

// TestHardeningSeccompOfAUnit: podman gets one filter, or none if its own is to be
// taken.
func TestHardeningSeccompOfAUnit(t *testing.T) {
	t.Parallel()
	p := podman{path: "/usr/bin/podman", seccomp: "/usr/share/sidecar/seccomp.json", lsm: func() lsm.State { return lsm.State{} }}
	for choice, want := range map[string][]string{
		"":                      {"--security-opt=no-new-privileges", "--security-opt=seccomp=/usr/share/sidecar/seccomp.json"},
		policy.SeccompNetfilter: {"--security-opt=no-new-privileges", "--security-opt=seccomp=/usr/share/sidecar/seccomp-netfilter.json"},
		policy.SeccompDefault:   {"--security-opt=no-new-privileges"},
		"/etc/sidecar/x.json":   {"--security-opt=no-new-privileges", "--security-opt=seccomp=/etc/sidecar/x.json"},
	} {
		j := &job{decision: &policy.Decision{Profile: &policy.Profile{Image: "localhost/x:1", Seccomp: choice}}}
		argv := p.start(j)
		argv = argv[:slices.Index(argv, "localhost/x:1")]
		got := slices.DeleteFunc(argv, func(word string) bool { return !strings.HasPrefix(word, "--security-opt=") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seccomp %q (-want +got):\n%s", choice, diff)
		}
	}
}

// TestSyslogOfAUnit: the journal's socket is mounted where there is one, and never for
// writing: a payload that is the host's user 0 could change its mode.
func TestSyslogOfAUnit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		syslog string
		asked  bool
		want   []string
	}{
		{"/dev/null", true, []string{"--mount=type=bind,source=/dev/null,destination=/dev/log,readonly=true"}},
		{"/dev/null", false, nil},
		{"/nonexistent", true, nil},
		{"", true, nil},
	} {
		p := podman{syslog: test.syslog, lsm: func() lsm.State { return lsm.State{} }}
		argv := p.start(&job{decision: &policy.Decision{Profile: &policy.Profile{Image: "localhost/x:1", Syslog: test.asked}}})
		var got []string
		for _, word := range argv {
			if strings.Contains(word, "/dev/log") {
				got = append(got, word)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q, syslog = %t (-want +got):\n%s", test.syslog, test.asked, diff)
		}
	}
}

// TestSecurityModulesOfAUnit: podman gets the AppArmor profile if the kernel has it, and the
// agent's level if there is SELinux, as they are at the time of the launch.
func TestSecurityModulesOfAUnit(t *testing.T) {
	t.Parallel()
	var host lsm.State
	p := podman{path: "/usr/bin/podman", lsm: func() lsm.State { return host }}
	j := &job{decision: &policy.Decision{
		Agent:   &policy.Agent{SELinuxLevel: "s0:c1,c2"},
		Profile: &policy.Profile{Image: "localhost/x:1"},
	}}
	for _, yes := range []bool{false, true, false} {
		host = lsm.State{AppArmor: lsm.AppArmor{On: true, Loaded: yes}, SELinux: lsm.SELinux{On: yes, Labelled: yes}}
		for _, flag := range []string{"--security-opt=apparmor=sidecar", "--security-opt=label=level:s0:c1,c2", "--security-opt=label=type:sidecar_payload_t"} {
			if got := slices.Contains(p.start(j), flag); got != yes {
				t.Errorf("%+v: %s is in podman's flags: %t", host, flag, got)
			}
		}
	}
}
