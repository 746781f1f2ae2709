package policy_test

import (
	"os"
	"path/filepath"
	"testing"

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
	return load(t, ".", "examples")
}

func pointer[T any](v T) *T { return &v }
