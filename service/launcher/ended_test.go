package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tripleo.io/sidecar/service/document"
)

// endedProcess returns the number of a process that has ended.
func endedProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	must(t, cmd.Run())
	return cmd.Process.Pid
}

// TestLifecycleRestartRemovesPIDFiles: a number that the kernel may give away must not stay.
func TestLifecycleRestartRemovesPIDFiles(t *testing.T) {
	t.Parallel()
	living, ours := mainOf(t).Process.Pid, mainOf(t).Process.Pid
	for name, c := range map[string]struct {
		make  func(path string) error
		stays bool
		fails bool
	}{
		"ended":          {holding(endedProcess(t)), false, false},
		"of the unit":    {holding(ours), false, false},
		"not translated": {holding(1), false, false},
		"another's":      {holding(living), true, false},
		"no number yet":  {func(path string) error { return os.WriteFile(path, nil, 0o644) }, true, false},
		"text":           {func(path string) error { return os.WriteFile(path, []byte("x\n"), 0o644) }, true, true},
		"link":           {func(path string) error { return os.Symlink("/etc/hostname", path) }, true, true},
		"directory":      {func(path string) error { return os.Mkdir(path, 0o755) }, true, true},
		"missing":        {func(string) error { return nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			path := filepath.Join(root, "pid")
			must(t, c.make(path))
			isOurs := func(pid int) (bool, error) { return pid == ours, nil }
			if err := removeEnded(document.File{Root: root, Path: "pid"}, isOurs); (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			if _, err := os.Lstat(path); (err == nil) != c.stays {
				t.Errorf("the file: %v", err)
			}
		})
	}
}

// holding makes a pid file.
func holding(pid int) func(path string) error {
	return func(path string) error { return os.WriteFile(path, fmt.Appendf(nil, "%d\n", pid), 0o644) }
}
