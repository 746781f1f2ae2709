//go:build testhost

package test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Capability bits of linux/capability.h.
const (
	capKill      = 5
	capSysPtrace = 19
)

var exposure = regexp.MustCompile(`exposure level for \S+\.service: ([0-9.]+)`)

func TestHardeningScore(t *testing.T) {
	begin(t)
	checkScore(t, "sidecard.service")
}

// checkScore holds a unit to a low score.
func checkScore(t *testing.T, unit string) {
	t.Helper()
	text := run(t, "systemd-analyze", "security", "--no-pager", unit) //nolint:misspell // the program's name
	found := exposure.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no score in %s", text)
	}
	score, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	version := strings.Fields(run(t, "systemctl", "--version"))[1]
	t.Logf("systemd %s counts %.1f for %s", version, score, unit)
	if score > 1.5 {
		t.Errorf("the score of %s is %.1f, at most 1.5 is wanted:\n%s", unit, score, text)
	}
}

func TestHardeningOfTheDaemonIsInForce(t *testing.T) {
	begin(t)
	// journald reads the service's limit from these links. Without them it applies the limit
	// of journald.conf.
	for limit, want := range map[string]string{"interval": "1000000", "burst": "1000000"} {
		if got, err := os.Readlink("/run/systemd/units/log-rate-limit-" + limit + ":sidecard.service"); got != want {
			t.Errorf("journald's limit for the service: %s %q, %v; want %s", limit, got, err, want)
		}
	}
	capabilities := fmt.Sprintf("%016x", 1<<capKill|1<<capSysPtrace)
	for field, want := range map[string]string{
		"CapEff": capabilities, "CapPrm": capabilities, "CapBnd": capabilities,
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": "0 0 0 0",
	} {
		if got := status(t, expectedDaemon, field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	for _, kind := range []string{"net", "mnt"} {
		if namespaceOf(t, expectedDaemon, kind) == namespaceOf(t, os.Getpid(), kind) {
			t.Errorf("the daemon is in the host's %s namespace", kind)
		}
	}
	mounts := mountsOf(t, expectedDaemon)
	for target, want := range map[string]string{"/": "ro", "/run/sidecar": "rw"} {
		if got, _, _ := strings.Cut(mounts[target], ","); got != want {
			t.Errorf("%s is mounted %q for the daemon, want %s", target, mounts[target], want)
		}
	}
	t.Logf("VmRSS %s, VmHWM %s, %s threads", status(t, expectedDaemon, "VmRSS"), status(t, expectedDaemon, "VmHWM"), status(t, expectedDaemon, "Threads"))
}

func TestHardeningDirectoriesAreRoots(t *testing.T) {
	begin(t)
	for path, want := range map[string]os.FileMode{
		"/run/sidecar":        os.ModeDir | 0o755,
		"/run/sidecar/agents": os.ModeDir | 0o700,
		hostSocket:            os.ModeSocket | 0o666,
	} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}
