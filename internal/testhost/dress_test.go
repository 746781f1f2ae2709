package testhost

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDressMasksAndConfigures(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := Config{Spec: Spec{Mask: []string{"haproxy.service"}}}
	if err := writeFile(root, "etc/systemd/system/haproxy.service", "[Service]\n", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.dress(root); err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"haproxy.service", "podman.socket"} {
		target, err := os.Readlink(filepath.Join(root, "etc/systemd/system", unit))
		if target != "/dev/null" {
			t.Errorf("%s -> %q, %v; want /dev/null", unit, target, err)
		}
	}
	if !exists(filepath.Join(root, "etc/containers/containers.conf")) {
		t.Error("no containers.conf")
	}
}

func TestInstallKeepsTheRootsMode(t *testing.T) {
	t.Parallel()
	root, staged := t.TempDir(), t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(staged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(root, "usr/bin/old", "old", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(staged, "usr/bin/new", "new", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), staged, root); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(root, "usr/bin/old")) || !exists(filepath.Join(root, "usr/bin/new")) {
		t.Error("the directories were not merged")
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the root: %v, %v; want 0755", info.Mode(), err)
	}
}

func TestInstallRefusesAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	if err := install(t.Context(), t.TempDir(), t.TempDir()); err == nil {
		t.Error("an empty staged directory was taken: a failed build would go unnoticed")
	}
}
