//go:build testhost

package test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// shownImage is an image as sidecarctl images shows it.
type shownImage struct {
	Reference         string
	Present           *bool
	ID                *string
	Current, Outdated int
	Agents            []string
}

// imagesOf returns what sidecarctl images says about an image.
func imagesOf(t *testing.T, reference string) shownImage {
	t.Helper()
	r := sidecarctl(t, 0, "images", "-o", "json")
	var all []shownImage
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || r.code != toolDone {
		t.Fatalf("%v, %v", r, err)
	}
	for _, i := range all {
		if i.Reference == reference {
			return i
		}
	}
	t.Fatalf("no image %s in %s", reference, r.stdout)
	return shownImage{}
}

// checkImage holds an image to be on the host, with so many sidecars.
func checkImage(t *testing.T, reference, id string, current, outdated int) {
	t.Helper()
	i := imagesOf(t, reference)
	if i.ID == nil || *i.ID != id || i.Current != current || i.Outdated != outdated {
		t.Errorf("%s: %d current, %d outdated, ID %v; want %d, %d, %s", reference, i.Current, i.Outdated, i.ID, current, outdated, id)
	}
}

// TestLifecycleImagesOfTwoAgents: each agent's sidecars run its own image.
func TestLifecycleImagesOfTwoAgents(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-image")
		common := run(t, "podman", "image", "inspect", "--format={{.Id}}", image)
		own := newImage(t, changingImage, "OWN")
		first := start(t, limited, probe(t, "t-image"))
		withPolicy(t, "agents.d", limited, agentFiles[limited]+"[images]\nprobe = \""+changingImage+"\"\n")
		if s := get(t, limited, first.ID); !s.Runtime.ImageOutdated {
			t.Error("not outdated, with another image in the agent's file")
		}
		checkImage(t, changingImage, own, 0, 1)
		for agent, want := range map[string]string{tester: common, limited: own} {
			s := start(t, agent, probe(t, "t-image"))
			if got := imageID(t, s); got != want || s.Runtime.ImageOutdated || hasMark(s, "OWN") != (want == own) {
				t.Errorf("%s: image %s, outdated %v, want %s", agent, got, s.Runtime.ImageOutdated, want)
			}
		}
		checkImage(t, changingImage, own, 1, 1)
		profiles, err := as(t, limited).ListProfiles(minute(t), nil)
		if err != nil || profiles[0].Image != changingImage {
			t.Errorf("the agent sees %v, %v", profiles, err)
		}
		stopAllAtEnd(t, limited) // before the image is removed
	})
}

// TestLifecycleImagesThatAreMissing: sidecarctl check and images name them, and OCI runtimes, too.
func TestLifecycleImagesThatAreMissing(t *testing.T) {
	begin(t)
	if i := imagesOf(t, "localhost/no-such-image:1"); i.Present == nil || *i.Present || i.ID != nil {
		t.Errorf("%+v", i)
	}
	withPolicy(t, "profiles.d", "mute", "runtime = [\"no-such-runtime\"]\nruntime-required = true\n"+profileFiles()["mute"])
	r := sidecarctl(t, 0, "check")
	for _, want := range []string{
		"warning: image localhost/no-such-image:1 of ghost is not on this host",
		"warning: profile mute: its launches fail, because the host has none of the OCI runtimes no-such-runtime",
	} {
		if r.code != toolDone || !strings.Contains(r.stdout, want) {
			t.Errorf("%v; want %q", r, want)
		}
	}
	if strings.Contains(r.stdout, image+" of") {
		t.Errorf("an image that is there is missing: %v", r)
	}
	r = sidecarctl(t, 65534, "images")
	if !strings.Contains(r.stderr, "warning: not known which images the host has") || !strings.Contains(r.stdout, image+" ") {
		t.Errorf("without root: %v", r)
	}
}

// registry serves images that podman has pushed into a directory, as registries do
// (OCI distribution specification, "pull").
type registry struct {
	address   string
	directory string // has a directory for each tag
}

// newRegistry starts one that podman uses without TLS.
func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{directory: t.TempDir()}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.address = strings.TrimPrefix(server.URL, "http://")
	conf := "/etc/containers/registries.conf.d/lifecycle.conf"
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, conf, "[[registry]]\nlocation = \""+r.address+"\"\ninsecure = true\n")
	t.Cleanup(func() { _ = os.Remove(conf) })
	return r
}

// push makes the tag stand for an image of the host.
func (r *registry) push(t *testing.T, image, tag string) {
	t.Helper()
	dir := filepath.Join(r.directory, tag)
	_ = os.RemoveAll(dir)
	run(t, "podman", "push", "-q", "--format=oci", image, "dir:"+dir)
}

// ServeHTTP answers /v2/x/manifests/TAG and /v2/x/blobs/sha256:DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	parts := strings.Split(request.URL.Path, "/")
	if len(parts) != 5 {
		return // /v2/: the interface is there
	}
	if parts[3] == "manifests" {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		http.ServeFile(w, request, filepath.Join(r.directory, parts[4], "manifest.json"))
		return
	}
	found, _ := filepath.Glob(filepath.Join(r.directory, "*", strings.TrimPrefix(parts[4], "sha256:")))
	if len(found) == 0 {
		http.NotFound(w, request)
		return
	}
	http.ServeFile(w, request, found[0])
}

// TestLifecycleImagesPullAndRecycle: from a registry's new image to sidecars that run it.
func TestLifecycleImagesPullAndRecycle(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-image")
		r := newRegistry(t)
		reference := r.address + "/x:1"
		old, next := newImage(t, changingImage, "OLD"), newImage(t, "localhost/next:1", "NEW")
		r.push(t, old, "1")
		withPolicy(t, "profiles.d", "probe", strings.Replace(profileFiles()["probe"], image, reference, 1))
		pull := func(result string) {
			t.Helper()
			done := sidecarctl(t, 0, "pull", "probe")
			if done.code != toolDone || !strings.Contains(done.stdout, result) || !strings.Contains(done.stderr, "pulling "+reference+" for probe") {
				t.Fatalf("pull: %v", done)
			}
		}
		if missing := imagesOf(t, reference); missing.Present == nil || *missing.Present {
			t.Errorf("before the pull: %+v", missing)
		}
		pull("new")
		t.Cleanup(func() { removeImage(t, reference) })
		stopAllAtEnd(t, tester)
		s := start(t, tester, probe(t, "t-image"))
		pull("unchanged")
		checkImage(t, reference, old, 1, 0)
		r.push(t, next, "1")
		pull("new")
		checkImage(t, reference, next, 0, 1)
		if done := sidecarctl(t, 0, "recycle", "--outdated"); done.code != toolDone || !strings.Contains(done.stdout, "replaced: 1") {
			t.Errorf("recycle: %v", done)
		}
		if now := get(t, tester, s.ID); imageID(t, now) != next || !hasMark(now, "NEW") {
			t.Errorf("it runs %s, want %s", imageID(t, now), next)
		}
		checkImage(t, reference, next, 1, 0)
		withPolicy(t, "profiles.d", "probe", strings.Replace(profileFiles()["probe"], image, r.address+"/x:2", 1))
		if done := sidecarctl(t, 0, "pull", "probe"); done.code != 1 || !strings.Contains(done.stderr, "error: "+r.address+"/x:2: podman pull: ") {
			t.Errorf("a tag that the registry does not have: %v", done)
		}
		if done := sidecarctl(t, 65534, "pull", "probe"); done.code != 1 || !strings.Contains(done.stderr, "only root can pull") {
			t.Errorf("without root: %v", done)
		}
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Error(err)
		}
	})
}
