package policy_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRuntimeKeys(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]struct {
		engine   string
		runtimes []string
		required bool
	}{
		``:                                    {"podman", nil, false},
		`engine = "podman"`:                   {"podman", nil, false},
		`engine = "runtime"`:                  {"runtime", nil, false},
		`runtime = ["krun", "runsc", "crun"]`: {"podman", []string{"krun", "runsc", "crun"}, false},
		"engine = \"runtime\"\nruntime = [\"/opt/x/crun_1.0-a\"]": {"runtime", []string{"/opt/x/crun_1.0-a"}, false},
		"runtime-required = true\nruntime = [\"kata-runtime\"]":   {"podman", []string{"kata-runtime"}, true},
		"runtime-required = false":                                {"podman", nil, false},
		"runtime = []":                                            {"podman", nil, false},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+lines+"\n")
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		p, _ := load(t, dir).Profile("x")
		if p.Engine != want.engine || !slices.Equal(p.Runtimes, want.runtimes) || p.RuntimeRequired != want.required {
			t.Errorf("%s: %q, %q, %t", lines, p.Engine, p.Runtimes, p.RuntimeRequired)
		}
	}
}

func TestRuntimeKeyProblems(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		`engine = "docker"`:         `7: engine: "docker" is not one of podman, runtime`,
		`engine = "Podman"`:         `7: engine: "Podman" is not one of podman, runtime`,
		`engine = 1`:                `7: engine: is of type integer, should be a string`,
		`runtime = "crun"`:          `7: runtime: is of type string, should be a list of strings`,
		`runtime = ["crun", "a b"]`: `7: runtime[1]: "a b" is neither the name of an OCI runtime, such as crun, nor its absolute path`,
		`runtime = [""]`:            `7: runtime[0]: "" is neither`,
		`runtime = ["-v"]`:          `7: runtime[0]: "-v" is neither`,
		`runtime = [".."]`:          `7: runtime[0]: ".." is neither`,
		`runtime = ["bin/crun"]`:    `7: runtime[0]: "bin/crun" is neither`,
		`runtime = ["` + strings.Repeat("x", 256) + `"]`: `7: runtime[0]: "` + strings.Repeat("x", 256) + `" is neither`,
		`runtime = ["/usr/../crun"]`:                     `7: runtime[0]: the path "/usr/../crun": it must be written without`,
		`runtime = ["/usr/bin/crun "]`:                   `7: runtime[0]: the path "/usr/bin/crun ": it may contain only`,
		`runtime = ["crun", "crun"]`:                     `7: runtime[1]: crun is listed twice`,
		// Their containers would not have the unit's limits.
		"engine = \"runtime\"\nruntime = [\"crun\", \"runc\"]": `8: runtime[1]: "runc" makes a control group outside the unit; engine = "runtime" takes crun, krun and runsc`,
		"engine = \"runtime\"\nruntime = [\"/usr/bin/youki\"]": `8: runtime[0]: "/usr/bin/youki" makes a control group outside the unit`,
		`runtime-required = true`:                              `7: runtime-required: needs runtime, the OCI runtimes of which the host must have one, such as runtime = ["runsc"]`,
		"runtime-required = true\nruntime = []":                `7: runtime-required: needs runtime`,
		`runtime-required = "yes"`:                             `7: runtime-required: is of type string, should be true or false`,
	} {
		dir := t.TempDir()
		profile := filepath.Join(dir, "profiles.d", "x.toml")
		write(t, profile, goodProfile+lines+"\n")
		wantProblem(t, dir, profile+":"+want)
	}
}

// TestRuntimeOfAnAgent: an agent must not write the program that starts its own sidecars.
func TestRuntimeOfAnAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+"runtime = [\"crun\", \"/srv/x/a/crun\"]\n")
	agent := filepath.Join(dir, "agents.d", "a.toml")
	write(t, agent, goodAgent)
	wantProblem(t, dir, agent+":3: state-directories: the OCI runtime /srv/x/a/crun of profile x lies in /srv/x")
}
