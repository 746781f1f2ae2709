package policy_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

// write writes a policy file, and the directories that it lies in.
func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	chmod(t, filepath.Dir(file), 0o755) // whatever the umask is
	chmod(t, file, 0o644)
}

func load(t testing.TB, dirs ...string) *policy.Set {
	t.Helper()
	set, err := policy.Load(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// shipped returns the profiles and the example agents of this package.
func shipped(t testing.TB) *policy.Set {
	t.Helper()
	return load(t, installed(t, "profiles.d"), installed(t, "examples/agents.d"))
}

// withRouter returns the same with two more agents, router and everything, whose paths
// may lie anywhere in the state directory.
func withRouter(t testing.TB) *policy.Set {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "agents.d", "router.toml"), `
		profiles = ["conntrackd", "dibbler-client", "keepalived"]
		network-namespaces = ["qrouter-*"]
		state-directories = ["/var/lib/neutron"]`)
	write(t, filepath.Join(dir, "agents.d", "everything.toml"), `
		profiles = ["haproxy", "radvd"]
		network-namespaces = ["qrouter-*"]
		state-directories = ["/var/lib/neutron"]`)
	return load(t, installed(t, "profiles.d"), installed(t, "examples/agents.d"), dir)
}

// installed copies policy files as they would be installed: what is checked out
// may have permissions that the loader refuses.
func installed(t testing.TB, dir string) string {
	t.Helper()
	root := t.TempDir()
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, filepath.Base(dir), filepath.Base(file)), string(text))
	}
	return root
}

// withoutGiven leaves out which mounts the launch makes writable.
var withoutGiven = cmpopts.IgnoreFields(document.Mount{}, "Given")

func pointer[T any](v T) *T { return &v }

func chmod(t testing.TB, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// replace removes a file and makes something else in its place.
func replace(t *testing.T, file string, create func() error) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
}

func mkfifo(file string) error { return syscall.Mkfifo(file, 0o644) }
