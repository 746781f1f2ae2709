//go:build testhost

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// runForeignPrograms writes a program into each file system that it sees, and runs
// it. A result is by the mount point.
func runForeignPrograms([]string) map[string]string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	result := map[string]string{}
	for line := range strings.Lines(string(text)) {
		target := strings.Fields(line)[4]
		if info, err := os.Stat(target); err == nil && info.IsDir() {
			result[target] = errorName(runForeign(filepath.Join(target, "foreign")))
		}
	}
	return result
}

// runForeign writes a script that this program runs, and starts it by its name.
func runForeign(path string) error {
	if err := os.WriteFile(path, []byte("#!"+os.Args[0]+"\n"), 0o755); err != nil {
		return err
	}
	defer os.Remove(path)
	cmd := exec.Command(path)
	cmd.Env = []string{childVariable + "=1"}
	return cmd.Run()
}
