package policy_test

import (
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/service/policy"
)

func TestHardeningSeccompKey(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct{ value, warning string }{
		``:                                 {"", ""},
		`seccomp = "netfilter"`:            {policy.SeccompNetfilter, ""},
		`seccomp = "default"`:              {policy.SeccompDefault, "profiles.d/x.toml:7: seccomp: the engine's own filter allows much"},
		`seccomp = "/etc/sidecar/x.json"`:  {"/etc/sidecar/x.json", "profiles.d/x.toml:7: seccomp: /etc/sidecar/x.json replaces the service's filter"},
		`seccomp = "/srv/xy/filter.json"`:  {"/srv/xy/filter.json", "may allow more"},
		`seccomp = "/srv/unconfined.json"`: {"/srv/unconfined.json", "may allow more"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+line+"\n")
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		set := load(t, dir)
		if p, _ := set.Profile("x"); p.Seccomp != want.value {
			t.Errorf("%s: it is %q, want %q", line, p.Seccomp, want.value)
		}
		warnings := strings.Join(set.Warnings(), "\n")
		if !strings.Contains(warnings, want.warning) || (want.warning == "") != (warnings == "") {
			t.Errorf("%s: warnings %q, want %q", line, warnings, want.warning)
		}
	}
}

func TestHardeningSeccompKeyProblems(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"unconfined":        `7: seccomp: "unconfined" is neither "netfilter" nor "default" nor the path of a file: it must be absolute`,
		"":                  `7: seccomp: "" is neither "netfilter" nor "default" nor the path of a file: it must be absolute`,
		"Default":           `7: seccomp: "Default" is neither "netfilter" nor "default" nor the path of a file: it must be absolute`,
		"seccomp.json":      `7: seccomp: "seccomp.json" is neither "netfilter" nor "default" nor the path of a file: it must be absolute`,
		"/etc/../x.json":    `7: seccomp: "/etc/../x.json" is neither "netfilter" nor "default" nor the path of a file: it must be written without`,
		"/etc/x.json,label": `7: seccomp: "/etc/x.json,label" is neither "netfilter" nor "default" nor the path of a file: it may contain only`,
	} {
		dir := t.TempDir()
		profile := filepath.Join(dir, "profiles.d", "x.toml")
		write(t, profile, goodProfile+"seccomp = \""+value+"\"\n")
		wantProblem(t, dir, profile+":"+want)
	}
}

// TestHardeningSeccompFileOfAnAgent: an agent must not write the filter of its own
// sidecars.
func TestHardeningSeccompFileOfAnAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+"seccomp = \"/srv/x/a/filter.json\"\n")
	agent := filepath.Join(dir, "agents.d", "a.toml")
	write(t, agent, goodAgent)
	wantProblem(t, dir, agent+":3: state-directories: the seccomp file /srv/x/a/filter.json of profile x lies in /srv/x")
}
