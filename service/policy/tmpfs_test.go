package policy_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

func TestPolicyTmpfsProblems(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		`"/usr/lib/x"`:              `7: tmpfs[0]: "/usr/lib/x": nothing in /usr may be replaced`,
		`"/proc"`:                   `7: tmpfs[0]: "/proc": nothing in /proc may be replaced`,
		`"/bin"`:                    `7: tmpfs[0]: "/bin": nothing in /bin may be replaced`,
		`"/"`:                       `7: tmpfs[0]: "/": nothing in / may be replaced`,
		`"run"`:                     `7: tmpfs[0]: "run": it must be absolute`,
		`"/run:rw"`:                 `7: tmpfs[0]: "/run:rw": a directory that is mounted may have no ':' in its path`,
		`"/run,size=9g"`:            `7: tmpfs[0]: "/run,size=9g": it may contain only`,
		`"/run", "/run"`:            `7: tmpfs[1]: /run and /run overlap`,
		`"/run", "/run/keepalived"`: `7: tmpfs[1]: /run and /run/keepalived overlap`,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+"tmpfs = ["+entry+"]\n")
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		wantProblem(t, dir, filepath.Join(dir, "profiles.d", "x.toml")+":"+want)
	}
}

// TestPolicyTmpfsGivesWay: a directory of the host is never replaced, nor is a mount point
// made in one.
func TestPolicyTmpfsGivesWay(t *testing.T) {
	t.Parallel()
	d := policy.Decision{
		Profile: &policy.Profile{Tmpfs: []string{"/run", "/srv/x", "/srv/y/sub", "/tmp"}},
		Mounts:  []document.Mount{{Root: "/run", Path: "state"}, {Path: "/elsewhere", Target: "/srv/x"}, {Path: "/srv/y"}},
	}
	if diff := cmp.Diff([]string{"/run", "/tmp"}, d.Tmpfs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
