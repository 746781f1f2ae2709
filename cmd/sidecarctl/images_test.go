package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/imagestore"
	"tripleo.io/sidecar/service/policy"
)

// policyOf loads one agent with profiles, each of which has these lines.
func policyOf(t *testing.T, profiles map[string]string) *policy.Set {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for name, lines := range profiles {
		names = append(names, `"`+name+`"`)
		put(t, filepath.Join(dir, "profiles.d", name+".toml"), lines+`
description = "a program"
command = ["/usr/bin/p"]
instance = "--pid-file"
ready = { pid-file = "--pid-file" }
arguments = ["--pid-file={path:rw}"]
`)
	}
	put(t, filepath.Join(dir, "agents.d", "a.toml"), "profiles = ["+strings.Join(names, ", ")+`]
network-namespaces = ["a-*"]
state-directories = ["/var/lib/a"]
`)
	set, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// put writes a file that only its owner may write.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestImagesInTheStore looks up images that are present, missing, and named so that only podman can resolve them.
func TestImagesInTheStore(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0a", 32)
	file := filepath.Join(t.TempDir(), "images.json")
	put(t, file, `[{"id":"`+id+`","names":["localhost/here:1","registry.example.org/x:latest"],"created":"2026-01-01T00:00:00Z"}]`)
	set := policyOf(t, map[string]string{
		"here":    `image = "localhost/here:1"`,
		"latest":  `image = "registry.example.org/x"`,
		"missing": `image = "registry.example.org/missing:1"`,
		"short":   `image = "short:1"`,
	})
	store := imagestore.Store{Files: []string{file}}
	needed, err := neededImages(set, nil, nil)
	if err == nil {
		err = lookForImages(needed, store)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range needed {
		state := "unknown"
		if n.Present != nil {
			state = map[bool]string{true: "present", false: "missing"}[*n.Present]
		}
		if n.ID != nil && *n.ID == id && n.CreatedUSec != nil {
			state += ", known"
		}
		got[n.Reference] = state
	}
	want := map[string]string{
		"localhost/here:1": "present, known", "registry.example.org/x": "present, known",
		"registry.example.org/missing:1": "missing", "short:1": "unknown",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	warnings := missingImages(set, store)
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "image registry.example.org/missing:1 of missing is not on this host") {
		t.Errorf("warnings %q", warnings)
	}
	if err := lookForImages(needed, imagestore.Store{}); err == nil {
		t.Error("a store that storage.conf moves away is known")
	}
	empty := missingImages(set, imagestore.Store{Files: []string{file + ".none"}})
	if len(empty) != 3 {
		t.Errorf("a podman that never had an image: %q", empty)
	}
}

// TestMissingRuntimes: a profile whose launches fail is named, one for which podman's own runtime
// will do is not.
func TestMissingRuntimes(t *testing.T) {
	t.Parallel()
	const image = "image = \"localhost/p:1\"\n"
	set := policyOf(t, map[string]string{
		"own":       image,
		"preferred": image + `runtime = ["krun"]`,
		"required":  image + "runtime = [\"krun\", \"runsc\"]\nruntime-required = true",
		"engine":    image + `engine = "runtime"`,
	})
	for host, want := range map[string][]string{
		"crun":       {"profile required: its launches fail, because the host has none of the OCI runtimes krun, runsc in /usr/local/sbin"},
		"runsc":      {"profile engine: its launches fail, because the host has none of the OCI runtimes crun in /usr/local/sbin"},
		"crun runsc": nil,
	} {
		got := missingRuntimes(set, func(name string) string {
			if slices.Contains(strings.Fields(host), name) {
				return "/usr/bin/" + name
			}
			return ""
		})
		if len(got) != len(want) || len(got) == 1 && !strings.HasPrefix(got[0], want[0]) {
			t.Errorf("a host with %s: %q, want %q", host, got, want)
		}
	}
}

// TestAwayBeginsWithTheEndOfTheProcess: only a process of the unit is watched.
func TestAwayBeginsWithTheEndOfTheProcess(t *testing.T) {
	t.Parallel()
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.FieldsFunc(string(group), func(r rune) bool { return r == '/' || r == '\n' })
	for unit, watched := range map[string]bool{parts[len(parts)-1]: true, "sidecar-a.p.000000000001.service": false} {
		cmd := exec.CommandContext(t.Context(), "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := watchEnd(&interfaces.Runtime{ProcessID: new(int64(cmd.Process.Pid)), Unit: unit})
		before := time.Now()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		end := ended()
		if watched == end.IsZero() || watched && end.Before(before) {
			t.Errorf("unit %s: it ended at %v, killed at %v", unit, end, before)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if end := watchEnd(&interfaces.Runtime{ProcessID: new(int64(cmd.Process.Pid)), Unit: parts[len(parts)-1]})(); !end.IsZero() {
		t.Errorf("a process that runs ended at %v", end)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
