//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// withRuntimes installs the profile "runtimes", whose image is called name, and an agent that
// may launch it.
func withRuntimes(t *testing.T, name string, lines ...string) {
	t.Helper()
	text := strings.Replace(profileFiles()["probe"], image, name, 1)
	withPolicy(t, "profiles.d", "runtimes", strings.Join(lines, "\n")+"\n"+text)
	withPolicy(t, "agents.d", "runtimes", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["runtimes", "dnsmasq"`, 1))
}

// inspected returns what podman says of a sidecar's container.
func inspected(t *testing.T, s *interfaces.Sidecar, format string) string {
	t.Helper()
	return run(t, "podman", "inspect", "--format", format, "sidecar-"+s.ID)
}

// runtimeOfEntry returns RUNTIME and the text of the journal's entry about a launch.
func runtimeOfEntry(t *testing.T, since, id string) string {
	t.Helper()
	entries := entriesSince(t, since, "METHOD=Launch", "SIDECAR_ID="+id, "DECISION=allowed")
	if len(entries) != 1 {
		t.Fatalf("entries %v", entries)
	}
	return fmt.Sprint(entries[0]["RUNTIME"], " ", entries[0]["MESSAGE"])
}

// TestRuntimeChoice: the first runtime of the profile that the host has starts the payload. It is
// a runc of another name: crun does not run everywhere (internal/testhost/containers.conf), and
// podman takes runc by itself here.
func TestRuntimeChoice(t *testing.T) {
	begin(t)
	namespace(t, "t-runtime")
	const chosen = "/usr/local/bin/runtime-test"
	run(t, "install", "/usr/bin/runc", chosen)
	t.Cleanup(func() { run(t, "rm", chosen) })
	withRuntimes(t, image, `runtime = ["no-such", "runtime-test", "runc"]`)
	since := now()
	p := shaped(t, "runtimes", "t-runtime")
	s := start(t, "runtimes", p)
	if got := inspected(t, s, "{{.OCIRuntime}}"); got != chosen {
		t.Errorf("the container's runtime is %s", got)
	}
	if r := get(t, "runtimes", s.ID).Runtime; r.Engine != interfaces.EnginePodman || r.OCIRuntime == nil || *r.OCIRuntime != chosen {
		t.Errorf("List says %+v", r)
	}
	if got := runtimeOfEntry(t, since, s.ID); !strings.HasPrefix(got, chosen+" Launch allowed: ") || strings.Contains(got, "none of") {
		t.Errorf("the journal has %s", got)
	}
	if _, err := as(t, "runtimes").Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Error(err)
	}
	if out, err := output("podman", "container", "exists", "sidecar-"+s.ID); err == nil {
		t.Errorf("the container is still there: %s", out)
	}
}

// TestRuntimeMissing: without any of the profile's runtimes podman uses its own, unless the
// profile forbids it.
func TestRuntimeMissing(t *testing.T) {
	begin(t)
	namespace(t, "t-runtime")
	p := shaped(t, "runtimes", "t-runtime")
	t.Run("fallback", func(t *testing.T) {
		withRuntimes(t, image, `runtime = ["no-such"]`)
		since := now()
		s := start(t, "runtimes", p)
		if s.Runtime.OCIRuntime != nil {
			t.Errorf("the runtime is %s", *s.Runtime.OCIRuntime)
		}
		if got := runtimeOfEntry(t, since, s.ID); !strings.HasPrefix(got, "default ") || !strings.HasSuffix(got, "; OCI runtime default, as the host has none of no-such") {
			t.Errorf("the journal has %s", got)
		}
	})
	t.Run("required", func(t *testing.T) {
		withRuntimes(t, image, `runtime = ["no-such"]`, `runtime-required = true`)
		_, err := as(t, "runtimes").Launch(minute(t), p)
		if !errors.Is(err, interfaces.ErrHostFailure) || !strings.Contains(err.Error(), "profile runtimes: the host has none of the OCI runtimes no-such in /usr/local/sbin") ||
			!strings.Contains(err.Error(), "runtime-required forbids") {
			t.Errorf("error %v", err)
		}
	})
}

// TestRuntimeImage: a sidecar's image is known by its ID, and is outdated when another image gets
// its name.
func TestRuntimeImage(t *testing.T) {
	begin(t)
	namespace(t, "t-runtime")
	const name, other = "localhost/runtime-test:1", "localhost/runtime-test:2"
	run(t, "podman", "tag", image, name)
	t.Cleanup(func() { run(t, "podman", "rmi", "--ignore", other, name) })
	tar := exec.Command("sh", "-c", "tar -cf - -C /etc hostname | podman import - "+other)
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	withRuntimes(t, name)
	s := start(t, "runtimes", shaped(t, "runtimes", "t-runtime"))
	if r := s.Runtime; r.ImageID == nil || *r.ImageID != inspected(t, s, "{{.Image}}") || r.ImageOutdated || r.Image != name {
		t.Fatalf("the sidecar is %+v; podman runs %s", r, inspected(t, s, "{{.Image}}"))
	}
	if got := inspected(t, s, "{{.ImageName}}"); got != name && got != image {
		t.Errorf("podman shows the image as %s", got)
	}
	run(t, "podman", "tag", other, name)
	if r := get(t, "runtimes", s.ID).Runtime; !r.ImageOutdated || *r.ImageID != *s.Runtime.ImageID {
		t.Errorf("after the name was given away: %+v", r)
	}
	run(t, "podman", "tag", image, name)
	if r := get(t, "runtimes", s.ID).Runtime; r.ImageOutdated {
		t.Errorf("after the name was given back: %+v", r)
	}
}
