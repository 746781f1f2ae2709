package service

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

func TestRuntimeChoice(t *testing.T) {
	t.Parallel()
	const where = " in /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin"
	for name, test := range map[string]struct {
		profile policy.Profile
		host    []string
		want    RuntimeChoice
		err     string
	}{
		"podman's own":      {policy.Profile{Engine: "podman"}, []string{"crun"}, RuntimeChoice{}, ""},
		"the first":         {policy.Profile{Engine: "podman", Runtimes: []string{"krun", "crun"}}, []string{"crun", "krun"}, RuntimeChoice{Path: "/usr/bin/krun"}, ""},
		"the second":        {policy.Profile{Engine: "podman", Runtimes: []string{"krun", "crun"}, RuntimeRequired: true}, []string{"crun"}, RuntimeChoice{Path: "/usr/bin/crun"}, ""},
		"none":              {policy.Profile{Engine: "podman", Runtimes: []string{"krun", "runsc"}}, []string{"crun"}, RuntimeChoice{Missing: []string{"krun", "runsc"}}, ""},
		"none and required": {policy.Profile{Name: "p", Engine: "podman", Runtimes: []string{"krun", "runsc"}, RuntimeRequired: true}, []string{"crun"}, RuntimeChoice{}, "profile p: the host has none of the OCI runtimes krun, runsc" + where + ", and runtime-required forbids to use another one"},
		"crun":              {policy.Profile{Engine: "runtime"}, []string{"crun"}, RuntimeChoice{Path: "/usr/bin/crun"}, ""},
		"crun instead":      {policy.Profile{Engine: "runtime", Runtimes: []string{"krun"}}, []string{"crun"}, RuntimeChoice{Path: "/usr/bin/crun", Missing: []string{"krun"}}, ""},
		"another":           {policy.Profile{Engine: "runtime", Runtimes: []string{"runsc"}}, []string{"crun", "runsc"}, RuntimeChoice{Path: "/usr/bin/runsc"}, ""},
		"no crun":           {policy.Profile{Name: "p", Engine: "runtime", Runtimes: []string{"krun"}}, nil, RuntimeChoice{}, "profile p: the host has none of the OCI runtimes krun, crun" + where + `, and engine = "runtime" needs one`},
		"no krun":           {policy.Profile{Name: "p", Engine: "runtime", Runtimes: []string{"krun"}, RuntimeRequired: true}, []string{"crun"}, RuntimeChoice{}, "runtime-required forbids"},
	} {
		host := &fakeHost{runtimes: test.host}
		c := &Core{Config: Config{Runtime: host.runtime}}
		got, err := c.chooseRuntime(&test.profile)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if test.err != "" && (!errors.Is(err, interfaces.ErrHostFailure) || !strings.Contains(err.Error(), test.err)) || test.err == "" && err != nil {
			t.Errorf("%s: error %v, want %q", name, err, test.err)
		}
	}
}

// TestRuntimeInADocument: podman gets the runtime as an option, the engine "runtime" runs it.
func TestRuntimeInADocument(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		interfaces.EnginePodman:  {"/usr/bin/podman", "/usr/bin/crun"},
		interfaces.EngineRuntime: {"/usr/bin/crun", "/usr/bin/crun"},
	} {
		d := documentFor(Config{Podman: "/usr/bin/podman"}, policy.Profile{Engine: name}, RuntimeChoice{Path: "/usr/bin/crun"})
		if got := [2]string{d.Program, d.Runtime}; got != want || d.Engine != name {
			t.Errorf("engine %s: %q, %q", name, d.Engine, got)
		}
	}
}

// withRuntimes has the shipped profile dnsmasq ask for OCI runtimes.
func (h *fakeHost) withRuntimes(t *testing.T, lines string) {
	t.Helper()
	dir := installed(t, "policy/profiles.d")
	text := lines + "\n" + string(mustRead(t, "policy/profiles.d/dnsmasq.toml"))
	if err := os.WriteFile(filepath.Join(dir, "profiles.d", "dnsmasq.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load(dir, installed(t, "policy/examples/agents.d"))
	if err != nil {
		t.Fatal(err)
	}
	h.core.SetPolicy(set)
}

// TestRuntimeOfALaunch: the choice shows in the sidecar, in Explain and in the journal's entry,
// and a refusal leaves nothing.
func TestRuntimeOfALaunch(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.runtimes = []string{"crun"}
	h.withRuntimes(t, `runtime = ["krun", "crun"]`)
	explained, err := h.core.Explain(t.Context(), dhcpAgent(), dnsmasqFor("net-0"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(explained.EngineCommand, "--runtime=/usr/bin/crun") ||
		!slices.Contains(explained.Document, interfaces.UnitProperty{Name: "runtime", Value: "/usr/bin/crun"}) ||
		!slices.Contains(explained.Document, interfaces.UnitProperty{Name: "engine", Value: "podman"}) {
		t.Errorf("Explain says %q, %q", explained.EngineCommand, explained.Document)
	}
	s := h.launch(t, "net-0")
	if s.Runtime.Engine != "podman" || s.Runtime.OCIRuntime == nil || *s.Runtime.OCIRuntime != "/usr/bin/crun" {
		t.Errorf("the sidecar is %+v", s.Runtime)
	}
	h.withRuntimes(t, `runtime = ["krun"]`)
	if s := h.launch(t, "net-1"); s.Runtime.Engine != "podman" || s.Runtime.OCIRuntime != nil {
		t.Errorf("the sidecar is %+v", s.Runtime)
	}
	if last := lastOf(h.journal.recorded("Launch")); last.Runtime == nil || !slices.Equal(last.Runtime.Missing, []string{"krun"}) {
		t.Errorf("the journal has %+v", last.Runtime)
	}
	started := h.starts()
	h.withRuntimes(t, "runtime = [\"krun\"]\nruntime-required = true")
	_, err = h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-2"))
	if !errors.Is(err, interfaces.ErrHostFailure) || !strings.Contains(err.Error(), "profile dnsmasq: the host has none of the OCI runtimes krun in") {
		t.Errorf("error %v", err)
	}
	if last := lastOf(h.journal.recorded("Launch")); last.Err == nil || last.Verdict() != "failed" || h.starts() != started {
		t.Errorf("the journal has %+v; %d units started", last, h.starts()-started)
	}
}

// TestImageOfASidecar: the unit's status says which image runs; it is outdated when the name of
// the profile's image stands for another one.
func TestImageOfASidecar(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	first, second := strings.Repeat("1", 64), strings.Repeat("2", 64)
	h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, first)))
	const name = "localhost/neutron-sidecars:1"
	for _, test := range []struct {
		images   map[string]string
		outdated bool
	}{
		{nil, false},
		{map[string]string{name: first}, false},
		{map[string]string{name: second}, true},
		{map[string]string{"localhost/other": second}, false},
	} {
		h.images.Store(&test.images)
		s := h.launch(t, "net-0")
		listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []interfaces.Runtime{s.Runtime, listed[0].Runtime} {
			if r.ImageID == nil || *r.ImageID != first || r.ImageOutdated != test.outdated {
				t.Errorf("images %v: %+v", test.images, r)
			}
		}
	}
	h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, "")))
	h.images.Store(&map[string]string{name: second})
	if r := h.launch(t, "net-0").Runtime; r.ImageID != nil || r.ImageOutdated {
		t.Errorf("an image whose ID is not known: %+v", r)
	}
}

func lastOf(decisions []Decision) Decision { return decisions[len(decisions)-1] }
