package testhost

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// bootEnv names a release to boot for the tests that need a host. They run as
// root, mount, and make a tree of some hundred megabytes if it is not cached.
const bootEnv = "SIDECAR_TESTHOST_BOOT"

// bootForTest boots a host, or skips the test.
func bootForTest(t *testing.T, installed ...string) *Host {
	t.Helper()
	release := os.Getenv(bootEnv)
	if release == "" {
		t.Skip("boots a host as root: set " + bootEnv + " to a release, such as trixie")
	}
	spec, err := ReadSpec("../../test/images.toml")
	if err != nil {
		t.Fatal(err)
	}
	host, err := Boot(t.Context(), Config{Release: release, Spec: spec, Install: installed, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		if exists(host.run.path) || (host.cgroup != "" && exists(host.cgroup)) {
			t.Error("the host left its directory or its cgroup behind")
		}
	})
	return host
}

// output runs a shell script in the host and returns its code and output.
func output(ctx context.Context, host *Host, script string) (int, string, error) {
	var text bytes.Buffer
	code, err := host.Run(ctx, Command{Args: []string{"sh", "-c", script}, Stdout: &text, Stderr: &text})
	return code, strings.TrimSpace(text.String()), err
}

func TestHostRunsCommands(t *testing.T) {
	host := bootForTest(t)
	tests := map[string]struct {
		script string
		code   int
		output string
	}{
		"output":        {"echo out; echo err >&2", 0, "out\nerr"},
		"exit code":     {"exit 42", 42, ""},
		"signal":        {"kill -KILL $$", 137, ""},
		"systemd":       {"systemctl is-system-running", 0, "running"},
		"own cgroup":    {"grep -c '^0::/system.slice/testhost-run-.*scope' /proc/self/cgroup", 0, "1"},
		"bus restarted": {"systemctl restart dbus && echo yes", 0, "yes"},
		"re-executed":   {"systemctl daemon-reexec && echo yes", 0, "yes"},
		"image":         {"podman run --rm --network none localhost/neutron-sidecars:1 sh -c 'echo in'", 0, "in"},
		"no network":    {"ip -o link | grep -vc ': lo:'", 1, "0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, text, err := output(t.Context(), host, test.script)
			if code != test.code || text != test.output || err != nil {
				t.Errorf("code %d, output %q, error %v; want %d and %q", code, text, err, test.code, test.output)
			}
		})
	}
}

func TestHostRunsConcurrently(t *testing.T) {
	host := bootForTest(t)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			want := strconv.Itoa(i)
			if code, text, err := output(t.Context(), host, "echo "+want); code != 0 || text != want || err != nil {
				t.Errorf("code %d, output %q, error %v; want 0 and %q", code, text, err, want)
			}
		})
	}
	group.Wait()
}

func TestHostStopsACancelledCommand(t *testing.T) {
	host := bootForTest(t)
	ctx, cancel := contextWithTimeout(t, 500*time.Millisecond)
	defer cancel()
	_, _, err := output(ctx, host, "sleep 4711 & sleep 4712")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	if _, text, err := output(t.Context(), host, "pgrep -c -x sleep"); text != "0" || err != nil {
		t.Errorf("%s processes left, error %v; want 0", text, err)
	}
}

func TestHostThatEndsTellsIt(t *testing.T) {
	host := bootForTest(t)
	_, _, err := output(t.Context(), host, "echo last words >/dev/console; systemctl poweroff -ff; sleep 60")
	if err == nil || !strings.Contains(err.Error(), "the host has ended") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("error %v, want that the host has ended, with its console", err)
	}
}

func TestHostCopiesInAndOut(t *testing.T) {
	source, out := t.TempDir(), t.TempDir()
	if err := writeFile(source, "data/sub/file", "content", 0o640); err != nil {
		t.Fatal(err)
	}
	host := bootForTest(t)
	if err := host.CopyIn(t.Context(), filepath.Join(source, "data"), "/srv/new"); err != nil {
		t.Fatal(err)
	}
	if err := host.CopyOut(t.Context(), "/srv/new/data", out); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "data/sub/file")); string(text) != "content" {
		t.Errorf("came back as %q, %v", text, err)
	}
	if err := host.CopyOut(t.Context(), "/no/such", out); err == nil {
		t.Error("copying out what is not there is no error")
	}
	if err := host.CopyIn(t.Context(), "/no/such", "/srv"); err == nil {
		t.Error("copying in what is not there is no error")
	}
}

func TestHostReportsInstalledUnitThatFails(t *testing.T) {
	staged := t.TempDir()
	units := filepath.Join(staged, "usr/lib/systemd/system")
	wants := filepath.Join(units, "multi-user.target.wants")
	err := errors.Join(
		writeFile(units, "broken.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n", 0o644),
		os.MkdirAll(wants, 0o755),
		os.Symlink("../broken.service", filepath.Join(wants, "broken.service")))
	if err != nil {
		t.Fatal(err)
	}
	host := bootForTest(t, staged)
	if failed, err := host.FailedUnits(t.Context()); len(failed) != 1 || failed[0] != "broken.service" {
		t.Errorf("failed units %q, %v; want broken.service", failed, err)
	}
	var journal bytes.Buffer
	if err := host.Journal(t.Context(), &journal, "broken*", 10); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(journal.String(), "broken.service") {
		t.Errorf("the journal does not name the unit: %q", journal.String())
	}
}

// TestHostReboots shows that the disk survives both ways of a boot, and nothing else.
func TestHostReboots(t *testing.T) {
	host := bootForTest(t)
	look := "cat /var/lib/kept; cat /run/lost; cat /proc/sys/kernel/random/boot_id"
	if code, text, err := output(t.Context(), host, "echo kept >/var/lib/kept; echo lost >/run/lost"); code != 0 || err != nil {
		t.Fatalf("code %d, %q, %v", code, text, err)
	}
	_, before, _ := output(t.Context(), host, "cat /proc/sys/kernel/random/boot_id")
	for _, powerLoss := range []bool{false, true} {
		if err := host.Reboot(t.Context(), powerLoss); err != nil {
			t.Fatal(err)
		}
		_, text, err := output(t.Context(), host, look)
		if err != nil || !strings.HasPrefix(text, "kept\n") || strings.Contains(text, "lost\n") || strings.Contains(text, before) {
			t.Errorf("power loss %v: %q, %v", powerLoss, text, err)
		}
	}
}
