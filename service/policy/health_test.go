package policy_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

func TestPolicyHealthProblems(t *testing.T) {
	t.Parallel()
	for health, want := range map[string]string{
		`interval = "5s"`:                 `7: health: must have exactly one of command, tcp, udp and unix`,
		`tcp = 1, udp = 2`:                `7: health: must have exactly one of`,
		`tcp = 0`:                         `7: health.tcp: 0 is neither a port`,
		`tcp = 65536`:                     `7: health.tcp: 65536 is neither a port`,
		`tcp = true`:                      `7: health.tcp: true is neither a port`,
		`udp = "localhost:53"`:            `7: health.udp: localhost:53 is neither a port, such as 53, nor an address and a port, such as`,
		`udp = "[fe80::1%eth0]:53"`:       `7: health.udp: [fe80::1%eth0]:53 is neither`,
		`unix = "x.sock"`:                 `7: health.unix: "x.sock" is neither a path in the container nor a template of one: it must be absolute`,
		`unix = "{dir}/../x"`:             `7: health.unix: "{dir}/../x" is neither`,
		`unix = "/run/{name}"`:            `7: health.unix: "/run/{name}" is neither`,
		`command = []`:                    `7: health.command: is an empty list`,
		`command = ["true"]`:              `7: health.command: "true" is neither`,
		`command = ["/bin/x", "{path}"]`:  `7: health.command[1]: {path} is none of {state}, {dir}, {stem}, {instance}`,
		`command = ["/bin/x", "a\u0000"]`: `7: health.command[1]: it has the control character U+0000`,
		`tcp = 1, interval = "999ms"`:     `7: health.interval: "999ms" is not a time between 1s and 1h, such as "30s"`,
		`tcp = 1, timeout = "2m"`:         `7: health.timeout: "2m" is not a time between 100ms and 1m, such as "5s"`,
		`tcp = 1, failures = 0`:           `7: health.failures: 0 is not between 1 and 100`,
		`tcp = 1, action = "kill"`:        `7: health.action: "kill" is not one of mark, restart`,
		`tcp = 1, action = "restart"`:     `7: health.action: "restart" needs restart = "on-failure" or "always"`,
		`tcp = 1, every = "5s"`:           `7: health.every: unknown key`,
	} {
		dir := t.TempDir()
		profile := filepath.Join(dir, "profiles.d", "x.toml")
		write(t, profile, goodProfile+"health = { "+health+" }\n")
		wantProblem(t, dir, profile+":"+want)
	}
	dir := t.TempDir()
	profile := filepath.Join(dir, "profiles.d", "x.toml")
	write(t, profile, strings.NewReplacer(`instance = "-f"`, `instance = "-n"`).Replace(goodProfile)+`health = { unix = "{dir}/x" }`+"\n")
	wantProblem(t, dir, profile+":7: health.unix: {dir} is known only if the instance -n names a path")
}

// TestPolicyHealth: a launch fills in the templates.
func TestPolicyHealth(t *testing.T) {
	t.Parallel()
	const every, limit = 30_000_000, 5_000_000 // the defaults
	for health, want := range map[string]*document.Health{
		``:                 nil,
		`tcp = 80`:         {TCP: "127.0.0.1:80", IntervalUSec: every, TimeoutUSec: limit, Failures: 3},
		`udp = "[::1]:53"`: {UDP: "[::1]:53", IntervalUSec: every, TimeoutUSec: limit, Failures: 3},
		`unix = "/run/x"`:  {Unix: "/run/x", IntervalUSec: every, TimeoutUSec: limit, Failures: 3},
		`unix = "{dir}/{stem}.sock", timeout = "1s"`: {Unix: "/srv/x/a/b.sock", IntervalUSec: every, TimeoutUSec: 1_000_000, Failures: 3},
		`command = ["/bin/x", "{state}{instance}", "-{stem}-"], interval = "1h", failures = 1, action = "restart"`: {
			Command: []string{"/bin/x", "/srv/x/srv/x/a/b.conf", "-b-"}, IntervalUSec: 120 * every, TimeoutUSec: limit, Failures: 1, Restart: true,
		},
	} {
		dir := t.TempDir()
		text := goodProfile + "restart = \"always\"\n"
		if health != "" {
			text += "health = { " + health + " }\n"
		}
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), text)
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		d, err := load(t, dir).Decide(policy.Request{
			Agent: "a", Profile: "x", Arguments: []string{"-f", "/srv/x/a/b.conf"}, NetworkNamespace: pointer("x-1"),
		})
		if err != nil {
			t.Fatalf("%s: %v", health, err)
		}
		if diff := cmp.Diff(want, d.Health); diff != "" {
			t.Errorf("%s (-want +got):\n%s", health, diff)
		}
	}
}
