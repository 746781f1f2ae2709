//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// The engines, as the profile key "engine" names them.
const (
	podmanEngine  = "podman"
	runtimeEngine = "runtime"
)

// engines are those that this version has.
var engines = []string{podmanEngine, runtimeEngine}

// usedEngine is the one of every profile that a test writes. Only withEngine changes it.
var usedEngine = podmanEngine

const shippedProfiles = "/usr/share/sidecar/profiles.d"

// forEachEngine runs a test with each engine. The test begins with begin(t). With SHORT=1 it runs
// with one: podman on Debian 12, the other one on Debian 13.
func forEachEngine(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	names := engines
	if testing.Short() {
		names = []string{runtimeEngine}
		if onBookworm(t) {
			names = []string{podmanEngine}
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			withEngine(t, name)
			test(t)
		})
	}
}

// onBookworm reports whether the host is Debian 12.
func onBookworm(t *testing.T) bool {
	t.Helper()
	return strings.Contains(readFile(t, "/etc/os-release"), "VERSION_CODENAME=bookworm")
}

// needsEngine skips the test in a version without this engine.
func needsEngine(t *testing.T, name string) {
	t.Helper()
	if !slices.Contains(engines, name) {
		t.Skipf("this version has no engine %q", name)
	}
}

// withEngine has all profiles use an engine until the test ends. Files in /etc replace the shipped
// profiles. In a virtual machine only the shipped ones change: podman would prepare images for the
// tests' own for minutes.
func withEngine(t *testing.T, name string) {
	t.Helper()
	if name == usedEngine {
		return
	}
	own := profileFiles()
	if inMachine() {
		own = nil
	}
	before := usedEngine
	t.Cleanup(func() {
		usedEngine = before
		writeProfiles(t, own)
		for shipped := range shippedFiles(t) {
			run(t, "rm", "-f", policyFile("profiles.d", shipped))
		}
		reload(t)
	})
	usedEngine = name
	writeProfiles(t, own)
	writeProfiles(t, shippedFiles(t))
	reload(t)
	imagesPrepared(t)
}

// imagesPrepared waits until the images are prepared that the last reload asks for: it takes
// space, podman's locks and time, which a test may measure.
func imagesPrepared(t *testing.T) {
	t.Helper()
	eventually(t, slowness*2*time.Minute, "all images are prepared", func() bool {
		return run(t, "systemctl", "list-units", "--state=activating", "--no-legend", "sidecar-prepare-*") == ""
	})
}

func writeProfiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := writePolicy("profiles.d", name, text); err != nil {
			t.Fatal(err)
		}
	}
}

// shippedFiles returns the text of each shipped profile.
func shippedFiles(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(shippedProfiles + "/*.toml")
	if err != nil || len(paths) < 6 {
		t.Fatalf("the shipped profiles: %v, %v", paths, err)
	}
	files := map[string]string{}
	for _, path := range paths {
		files[strings.TrimSuffix(filepath.Base(path), ".toml")] = readFile(t, path)
	}
	return files
}

// readFile returns the text of a file that must be there.
func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// engineLine is the line of a profile that names its engine. Podman needs none.
func engineLine(name string) string {
	if name == podmanEngine {
		return ""
	}
	return fmt.Sprintf("engine = %q\n", name)
}

// runtimeDirectory has a directory for each container of engine "runtime".
const runtimeDirectory = "/run/sidecar/runtime/crun"

// containers lists the containers of sidecars by what their engines know, in any state.
func containers() ([]string, error) {
	text, err := output("podman", "ps", "-a", "--format={{.Names}}")
	names := slices.DeleteFunc(strings.Fields(text), func(name string) bool {
		return strings.HasPrefix(name, "sidecar-image-") || strings.HasPrefix(name, "sidecar-prepare-") // of prepared images
	})
	entries, _ := os.ReadDir(runtimeDirectory) // it exists when there was a container
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") { // crun's cache of filters
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// leaveContainer leaves behind what an engine leaves that was killed while it made a container.
func leaveContainer(t *testing.T, id interfaces.ID) {
	t.Helper()
	if usedEngine == podmanEngine {
		run(t, "podman", "create", "--name="+id.Container(), "--label=io.tripleo.sidecar.id="+id.String(), "--network=none", image, "/bin/sleep", "1")
		return
	}
	// crun makes the directory first.
	if err := os.MkdirAll(filepath.Join(runtimeDirectory, id.String()), 0o700); err != nil {
		t.Fatal(err)
	}
}

// payloadGroup is the control group of payloads below the unit's, as a pattern. podman and its
// monitor are not in it, the runtime is until it executes the payload.
func payloadGroup() string {
	if usedEngine == podmanEngine {
		return "/libpod-payload*"
	}
	return ""
}

// endOfMain is the event that tells that a unit's main process was killed: podman's monitor,
// or the payload itself, whose end by SIGKILL is a stop.
func endOfMain() interfaces.EventKind {
	if usedEngine == podmanEngine {
		return interfaces.EventFailed
	}
	return interfaces.EventStopped
}
