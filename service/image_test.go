package service

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// runtimeHost is a host whose dnsmasq profile has the runtime engine, with the names of the
// templates that it keeps.
func runtimeHost(t *testing.T) (h *fakeHost, kept func() []string) {
	t.Helper()
	h = newFakeHost(t)
	h.runtimes = []string{"crun"}
	vendor := installed(t, "policy/profiles.d")
	path := vendor + "/profiles.d/dnsmasq.toml"
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("engine = \"runtime\"\n"), text...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load(vendor, installed(t, "policy/examples/agents.d"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var names []string
	h.core.Keep = func(templates []string, _ bool) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		names = templates
		return true, nil
	}
	h.core.SetPolicy(set)
	return h, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return names
	}
}

// preparationsOf returns the names of the units that prepare an agent's image.
func (h *fakeHost) preparationsOf(t *testing.T, agent string) []string {
	t.Helper()
	var found []string
	for _, granted := range h.core.policy.Load().Granted(agent) {
		a, _ := h.core.policy.Load().Agent(agent)
		documents, err := h.core.preparationsOf(a, granted)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range documents {
			found = append(found, "sidecar-prepare-"+strings.ReplaceAll(d.ID, ".", "-")+".service")
		}
	}
	return found
}

// TestImagesArePreparedOnce: ahead of launches, and again after the policy was read; a launch
// uses the template that was prepared for it.
func TestImagesArePreparedOnce(t *testing.T) {
	t.Parallel()
	h, kept := runtimeHost(t)
	h.core.PrepareImages(t.Context())
	units := h.preparationsOf(t, "neutron-dhcp")
	if len(units) != 1 || h.units.Starts(units[0]) != 1 || h.units.Starts("sidecar-clean.service") != 0 {
		t.Fatalf("units %q were started %d times", units, h.units.Starts(units[0]))
	}
	explained, err := h.core.Explain(t.Context(), dhcpAgent(), dnsmasqFor("a"))
	if err != nil {
		t.Fatal(err)
	}
	var template string
	for _, field := range explained.Document {
		if field.Name == "template" {
			template = field.Value
		}
	}
	if diff := cmp.Diff([]string{template}, kept()); diff != "" {
		t.Errorf("templates that are kept (-of a launch +got):\n%s", diff)
	}
	for range 2 {
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a")); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.units.Starts(units[0]); n != 1 {
		t.Errorf("prepared %d times", n)
	}
	h.core.SetPolicy(h.core.policy.Load())
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a")); err != nil {
		t.Fatal(err)
	}
	if n := h.units.Starts(units[0]); n != 2 {
		t.Errorf("prepared %d times after a reload and a launch, want 2", n)
	}
}

// TestImageThatCannotBePrepared: a launch that fails because of it says why, the next one tries
// again, and a template of an earlier preparation will do.
func TestImageThatCannotBePrepared(t *testing.T) {
	t.Parallel()
	h, _ := runtimeHost(t)
	var unprepared bool
	h.units.OnStart = func(name string, _ []systemd.Property) systemd.Outcome {
		switch {
		case strings.HasPrefix(name, "sidecar-prepare-"):
			o := systemd.FailedWith(125)
			change := o.Change
			o.Change = func(u *systemd.Unit) {
				change(u)
				u.StatusText = "Failed in engine: image not known"
			}
			return o
		case unprepared:
			o := systemd.FailedWith(125)
			change := o.Change
			o.Change = func(u *systemd.Unit) {
				change(u)
				u.StatusText = "Failed in engine: the image is not prepared"
			}
			return o
		}
		return systemd.Outcome{}
	}
	unprepared = true
	_, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a"))
	failed, ok := errors.AsType[*interfaces.LaunchFailedError](err)
	if !ok || failed.Phase == nil || *failed.Phase != interfaces.PhaseEngine || failed.Reason == nil || !strings.HasSuffix(*failed.Reason, "image not known") {
		t.Errorf("without a template: %v", err)
	}
	unit := h.preparationsOf(t, "neutron-dhcp")[0]
	if n := h.units.Starts(unit); n != 1 {
		t.Errorf("prepared %d times in one launch", n)
	}
	unprepared = false
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a")); err != nil {
		t.Errorf("with an old template: %v", err)
	}
	if n := h.units.Starts(unit); n != 2 {
		t.Errorf("prepared %d times in two launches", n)
	}
}

// TestImageWhosePreparationHangs: a launch waits a moment, and then uses the old template. Until
// then the old sidecar runs. A recycle, which is for the new image, waits for it.
func TestImageWhosePreparationHangs(t *testing.T) {
	t.Parallel()
	h, _ := runtimeHost(t)
	h.core.prepareWait = 50 * time.Millisecond
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a")); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	releaseAll := sync.OnceFunc(func() { close(release) })
	defer releaseAll()
	h.units.OnStart = func(name string, _ []systemd.Property) systemd.Outcome {
		if strings.HasPrefix(name, "sidecar-prepare-") {
			<-release
		}
		return systemd.Outcome{}
	}
	h.core.SetPolicy(h.core.policy.Load())
	stopped := 0
	h.units.OnStop = func(u systemd.Unit) systemd.Outcome {
		if !strings.HasPrefix(u.Name, "sidecar-prepare-") {
			stopped++
		}
		return systemd.Outcome{}
	}
	begun := time.Now()
	reply, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("a"))
	if err != nil || stopped != 1 {
		t.Errorf("%v, %d stops", err, stopped)
	}
	if waited := time.Since(begun); waited < h.core.prepareWait || waited > 200*h.core.prepareWait {
		t.Errorf("it waited for %v", waited)
	}
	if n := h.core.starts.InUse(); n != 0 {
		t.Errorf("%d slots are held", n)
	}
	p := dnsmasqFor("a")
	p.Mode, p.Replaces = new(interfaces.ModeReplace), reply.Sidecar.Runtime.InvocationID
	recycled := make(chan error, 1)
	go func() {
		_, err := h.core.Launch(t.Context(), dhcpAgent(), p)
		recycled <- err
	}()
	select {
	case err := <-recycled:
		t.Fatalf("a recycle did not wait: %v", err)
	case <-time.After(3 * h.core.prepareWait):
	}
	releaseAll()
	if err := <-recycled; err != nil || stopped != 2 {
		t.Errorf("recycled: %v, %d stops", err, stopped)
	}
}

// TestImageOfAnAgent: an agent's own image is in its launches, in Explain and ListProfiles, has a
// template of its own, and makes sidecars with another image outdated.
func TestImageOfAnAgent(t *testing.T) {
	t.Parallel()
	h, _ := runtimeHost(t)
	const own = "registry.example.org/neutron/dnsmasq:2"
	before := h.preparationsOf(t, "neutron-dhcp")
	s := h.launch(t, "net-0")
	if s.Runtime.ImageOutdated {
		t.Error("outdated from the start")
	}
	h.withAgentsImage(t, "dnsmasq", own)
	listed, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: &s.ID})
	if err != nil || !listed[0].Runtime.ImageOutdated {
		t.Errorf("with another image in the agent's file: %v, %v", listed, err)
	}
	if after := h.preparationsOf(t, "neutron-dhcp"); len(after) != 1 || after[0] == before[0] {
		t.Errorf("preparations %q, before %q", after, before)
	}
	profiles, err := h.core.ListProfiles(t.Context(), dhcpAgent(), interfaces.ListProfilesParameters{})
	if err != nil || len(profiles) != 2 || profiles[0].Image != own || profiles[1].Image == own {
		t.Errorf("profiles of the agent: %+v, %v", profiles, err)
	}
	explained, err := h.core.Explain(t.Context(), dhcpAgent(), dnsmasqFor("net-0"))
	if err != nil || explained.Image != own {
		t.Errorf("Explain says %q, %v", explained.Image, err)
	}
	if r := h.launch(t, "net-0").Runtime; r.Image != own || r.ImageOutdated {
		t.Errorf("launched: %+v", r)
	}
}

// withAgentsImage has the file of the agent neutron-dhcp name an image.
func (h *fakeHost) withAgentsImage(t *testing.T, profile, image string) {
	t.Helper()
	agents := installed(t, "policy/examples/agents.d")
	path := agents + "/agents.d/neutron-dhcp.toml"
	text := string(mustRead(t, path)) + "\n[images]\n" + profile + " = \"" + image + "\"\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	vendor := installed(t, "policy/profiles.d")
	dnsmasq := vendor + "/profiles.d/dnsmasq.toml"
	if err := os.WriteFile(dnsmasq, append([]byte("engine = \"runtime\"\n"), mustRead(t, dnsmasq)...), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load(vendor, agents)
	if err != nil {
		t.Fatal(err)
	}
	h.core.SetPolicy(set)
}
