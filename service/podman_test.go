package service

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/policy"
)

// TestHardeningSeccompOfAUnit: podman gets one filter, or none if its own is to be
// taken.
func TestHardeningSeccompOfAUnit(t *testing.T) {
	t.Parallel()
	p := podman{path: "/usr/bin/podman", seccomp: "/usr/share/sidecar/seccomp.json", apparmor: func() bool { return false }}
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

// TestAppArmorOfAUnit: podman gets the profile if the kernel has it at the time of the launch.
func TestAppArmorOfAUnit(t *testing.T) {
	t.Parallel()
	loaded := false
	p := podman{path: "/usr/bin/podman", apparmor: func() bool { return loaded }}
	j := &job{decision: &policy.Decision{Profile: &policy.Profile{Image: "localhost/x:1"}}}
	for _, loaded = range []bool{false, true, false} {
		if got := slices.Contains(p.start(j), "--security-opt=apparmor=sidecar"); got != loaded {
			t.Errorf("loaded: %t, in podman's flags: %t", loaded, got)
		}
	}
}
