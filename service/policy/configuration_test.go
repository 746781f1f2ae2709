package policy_test

import (
	"path/filepath"
	"testing"
)

func TestPolicyConfigurationProblems(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`{ file = "-q", refused = ["x: y"] }`:             `7: configuration.file: "-q" must be an option with exactly one rule`,
		`{ file = "-n", refused = ["x: y"] }`:             `7: configuration.file: "-n" must be an option with exactly one rule`,
		`{ file = "-f" }`:                                 `7: configuration: refused or pid-file is missing`,
		`{ file = "-f", pid-file = "pid file" }`:          `7: configuration.pid-file: "pid file" is not a word`,
		`{ file = "-f", pid-file = "pidfile" }`:           `7: configuration.pid-file: an argument always names the pid file: ready has no default-pid-file`,
		`{ file = "-f", refused = ["x"] }`:                `7: configuration.refused[0]: "x" is not a word, ': ' and a reason`,
		`{ file = "-f", refused = ["a b: y"] }`:           `7: configuration.refused[0]: "a b: y" is not a word, ': ' and a reason`,
		`{ file = "-f", refused = [": y"] }`:              `7: configuration.refused[0]: ": y" is not a word, ': ' and a reason`,
		`{ file = "-f", refused = ["x: y"], needed = 1 }`: `7: configuration.needed: unknown key`,
	} {
		dir := t.TempDir()
		profile := filepath.Join(dir, "profiles.d", "x.toml")
		write(t, profile, goodProfile+"configuration = "+value+"\n")
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		wantProblem(t, dir, profile+":"+want)
	}
}
