package oci

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainersOfRuntimes(t *testing.T) {
	states := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	program := filepath.Join(os.Getenv("PATH"), "crun")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crun/a.b.0123456789ab", "crun/.cache", "gone/a.b.0123456789cd"} {
		if err := os.MkdirAll(filepath.Join(states, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got, err := containersIn(states)
	want := map[string][]string{"a.b.0123456789ab": {
		program, "--root=" + states + "/crun", "--cgroup-manager=disabled", "delete", "--force", "a.b.0123456789ab",
	}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := containersIn(states + "/none"); err != nil || len(got) != 0 {
		t.Errorf("without a directory: %v, %v", got, err)
	}
}
