//go:build testhost

package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// commandTimeout is how long a command of the host may take.
	commandTimeout = 5 * time.Minute
	// slowness is how much longer than a quiet machine a busy one may take. podman
	// takes a quarter of a second where nobody else wants the processors or the disk,
	// and seconds where somebody does.
	slowness = 10
)

// begin takes the host for a test and holds it to leave nothing behind. It comes
// first, so that its check comes after the test's own cleaning up.
func begin(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if err := becomesClean(); err != nil {
			t.Errorf("left behind: %v", err)
			scrub(t)
		}
		if err := checkDaemon(); err != nil {
			t.Error(err)
		}
	})
}

// becomesClean is checkClean, but not at once: systemd lists a unit for a moment
// after it was stopped and let go of.
func becomesClean() error {
	err := checkClean()
	for end := time.Now().Add(slowness * 3 * time.Second); err != nil && time.Now().Before(end); err = checkClean() {
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// checkSweep fails if sidecar-clean.service cannot remove everything that is left. podman ps does
// not list every such container.
func checkSweep() error {
	for end := time.Now().Add(slowness * 30 * time.Second); ; time.Sleep(time.Second) {
		if _, err := output("systemctl", "start", "sidecar-clean.service"); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// checkClean finds what sidecars leave behind when they are gone, if they do.
func checkClean() error {
	units, err := sidecarUnits()
	containers, containersErr := containers()
	pins, pinsErr := pins()
	err = errors.Join(err, containersErr, pinsErr)
	for what, names := range map[string][]string{"unit": units, "container": containers, "pin": pins, "file": temporaryFiles()} {
		for _, name := range names {
			err = errors.Join(err, fmt.Errorf("%s %s", what, name))
		}
	}
	return err
}

// sidecarUnits lists the units of all sidecars, in any state.
func sidecarUnits() ([]string, error) {
	text, err := output("systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "sidecar-*.*.*.service")
	var names []string
	for line := range strings.Lines(text) {
		names = append(names, strings.Fields(line)[0])
	}
	return names, err
}

// mountedPrefix begins the name of a pin that is a mount.
const mountedPrefix = "mounted: "

// pins lists what sidecar-launch has mounted, and its directories.
func pins() ([]string, error) {
	const base = "/run/sidecar/launch"
	entries, err := filepath.Glob(base + "/*")
	text, readErr := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if target := strings.Fields(line)[4]; strings.HasPrefix(target, base+"/") {
			entries = append(entries, mountedPrefix+target)
		}
	}
	return entries, errors.Join(err, readErr)
}

// temporaryFiles lists pid files that were not put in place.
func temporaryFiles() []string {
	var found []string
	for _, dir := range []string{stateDirectory, neutronDirectory} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
			if name := filepath.Base(path); strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".pid") {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// scrub removes what a failed test left, so that only this test fails.
func scrub(t *testing.T) {
	t.Helper()
	units, _ := sidecarUnits()
	for _, unit := range units {
		_, _ = output("systemctl", "stop", unit)
		_, _ = output("systemctl", "reset-failed", unit)
	}
	if _, err := output("podman", "rm", "-f", "-i", "-a", "-t", "0"); err != nil {
		t.Log("scrub:", err)
	}
	for _, file := range temporaryFiles() {
		_ = os.Remove(file)
	}
	if err := removePins(); err != nil {
		t.Log("scrub:", err)
	}
}

// removePins removes what pins lists, and nothing that is pinned.
func removePins() error {
	left, err := pins()
	for _, entry := range slices.Backward(left) { // a mount before the one that it lies in
		if target, ok := strings.CutPrefix(entry, mountedPrefix); ok {
			err = errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
		}
	}
	for _, entry := range left {
		if err == nil && !strings.HasPrefix(entry, mountedPrefix) {
			err = os.RemoveAll(entry)
		}
	}
	return err
}

// output runs a command and returns its standard output without the last newline.
// Its error carries standard error.
func output(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// run runs a command that must succeed and returns what it printed.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := output(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// show returns a property of a unit as systemctl prints it.
func show(t testing.TB, unit, property string) string {
	t.Helper()
	return run(t, "systemctl", "show", "-P", property, unit)
}

// eventually waits until ok says so, and fails the test when it does not. limit is
// what a quiet machine may take.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(slowness * limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", slowness*limit, what)
		}
	}
}

// write puts a file in place as agents do: by rename.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// directory makes an empty directory in the state directory of the tests' agents.
func directory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(stateDirectory, "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
