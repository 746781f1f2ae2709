package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFieldCapacity: what the granted sidecars need of a host, and what to set.
func TestFieldCapacity(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files    map[string]string
		sidecars granted
		want     []string // a part of each warning
	}{
		"no agents": {nil, granted{}, nil},
		"enough": {map[string]string{
			"proc/sys/fs/inotify/max_user_instances": "8192\n", "proc/sys/kernel/pid_max": "4194304\n", "sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, granted{1900, 1900}, nil},
		"defaults": {map[string]string{
			"proc/sys/fs/inotify/max_user_instances": "128\n", "proc/sys/kernel/pid_max": "32768\n", "sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, granted{10000, 10000}, []string{
			"fs.inotify.max_user_instances is 128, and the agents' files grant 10000 sidecars: set it to 10128",
			"kernel.pid_max is 32768, and the agents' files grant 10000 sidecars: set it to 40000",
			"podman's num_locks is 2048, and the agents' files grant 10000 sidecars: set it to 10128",
		}},
		"without podman": {map[string]string{
			"proc/sys/fs/inotify/max_user_instances": "128\n", "proc/sys/kernel/pid_max": "32768\n", "sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, granted{10000, 0}, []string{"kernel.pid_max is 32768, and the agents' files grant 10000 sidecars: set it to 40000"}},
		"no memory controller": {map[string]string{"proc/sys/fs/inotify/max_user_instances": "128\n"}, granted{1900, 1900}, nil},
		"num_locks in the last file": {map[string]string{
			"usr/share/containers/containers.conf": "[engine]\nnum_locks = 100\n", "etc/containers/containers.conf": "[engine]\n# num_locks = 9\n",
			"etc/containers/containers.conf.d/a.conf": "[engine]\nnum_locks = 4000\n", "etc/containers/containers.conf.d/b.conf": "broken",
		}, granted{4001, 4001}, []string{"podman's num_locks is 4000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for path, text := range test.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := lacks(root, test.sidecars)
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

func TestFieldLeftoversAreShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := left(dir); got != nil {
		t.Errorf("of none: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.b.0123456789ab-left-x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := left(dir); len(got) != 1 || !strings.Contains(got[0], "a.b.0123456789ab-left-x") {
		t.Errorf("%q", got)
	}
}
