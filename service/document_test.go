package service

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
)

// documentFor returns the document of a launch of this profile.
func documentFor(config Config, profile policy.Profile, runtime RuntimeChoice) *document.Document {
	if config.Confinement == nil {
		config.Confinement = func() lsm.State { return lsm.State{} }
	}
	c := &Core{Config: config}
	return c.newDocument(&attempt{decision: &policy.Decision{Agent: &policy.Agent{SELinuxLevel: "s0:c1,c2"}, Profile: &profile}, runtime: runtime})
}

// TestHardeningSeccompOfAUnit: a payload gets one filter, or the engine's own.
func TestHardeningSeccompOfAUnit(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, choice := range []string{"", policy.SeccompNetfilter, policy.SeccompDefault, "/etc/sidecar/x.json"} {
		got[choice] = documentFor(Config{Seccomp: "/usr/share/sidecar/seccomp.json"}, policy.Profile{Seccomp: choice}, RuntimeChoice{}).Seccomp
	}
	if diff := cmp.Diff(map[string]string{
		"":                      "/usr/share/sidecar/seccomp.json",
		policy.SeccompNetfilter: "/usr/share/sidecar/seccomp-netfilter.json",
		policy.SeccompDefault:   "",
		"/etc/sidecar/x.json":   "/etc/sidecar/x.json",
	}, got); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
}

// TestSyslogOfAUnit: a container has the journal's socket if the host has one and the profile
// does not turn it off.
func TestSyslogOfAUnit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		syslog string
		asked  bool
		want   string
	}{
		{"/dev/null", true, "/dev/null"},
		{"/dev/null", false, ""},
		{"/nonexistent", true, ""},
		{"", true, ""},
	} {
		if got := documentFor(Config{Syslog: test.syslog}, policy.Profile{Syslog: test.asked}, RuntimeChoice{}).Syslog; got != test.want {
			t.Errorf("%q, syslog = %t: %q, want %q", test.syslog, test.asked, got, test.want)
		}
	}
}

// TestSecurityModulesOfAUnit: the payload gets the AppArmor profile if the kernel has it, and
// the agent's level if there is SELinux, as they are at the time of the launch.
func TestSecurityModulesOfAUnit(t *testing.T) {
	t.Parallel()
	for _, yes := range []bool{false, true, false} {
		host := lsm.State{AppArmor: lsm.AppArmor{On: true, Loaded: yes}, SELinux: lsm.SELinux{On: yes, Labelled: yes}}
		d := documentFor(Config{Confinement: func() lsm.State { return host }}, policy.Profile{}, RuntimeChoice{})
		want := [3]string{}
		if yes {
			want = [3]string{"sidecar", "s0:c1,c2", "sidecar_payload_t"}
		}
		if got := [3]string{d.AppArmor, d.SELinuxLevel, d.SELinuxType}; got != want {
			t.Errorf("%+v: %q, want %q", host, got, want)
		}
	}
}
