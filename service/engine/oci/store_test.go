package oci

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// storeOf is a store whose podman notes its commands in the file that is returned.
func storeOf(t *testing.T) (s store, podman, log string) {
	t.Helper()
	s = store{t.TempDir() + "/templates", t.TempDir()}
	podman, log = t.TempDir()+"/podman", t.TempDir()+"/log"
	must(t, os.WriteFile(podman, []byte("#!/bin/sh\necho \"$@\" >>"+log+"\n"), 0o755))
	return s, podman, log
}

// TestStorePrune: a template goes when neither the policy nor a sidecar needs it, an image when
// neither a template nor a sidecar needs it.
func TestStorePrune(t *testing.T) {
	t.Parallel()
	s, podman, log := storeOf(t)
	if others, err := s.keep(nil, false); others || err != nil {
		t.Fatalf("nothing was prepared: %v, %v", others, err)
	}
	must(t, s.prune(t.Context()))
	if _, err := os.Stat(s.directory); err == nil {
		t.Error("a store was made for nothing")
	}
	if others, err := s.keep([]string{"aa"}, false); !others || err != nil {
		t.Fatalf("%v, %v", others, err)
	}
	for name, image := range map[string]string{"aa": "i1", "bb": "i2", "cc": "i3"} {
		must(t, s.write(name, &template{Image: image, Root: "/", Config: specs.Spec{Hostname: "h", Process: &specs.Process{}, Linux: &specs.Linux{}}}))
		must(t, writeNote(s.path(imagesName, image), mountNote{Podman: podman}))
	}
	const running, ended, old = "a.p.000000000001", "a.p.000000000002", "a.p.000000000003"
	must(t, writeNote(s.path(imagesName, "i4"), mountNote{Podman: podman})) // of a sidecar from before a reload
	must(t, writeNote(s.path(usersName, running), useNote{"bb", "i2"}))
	must(t, writeNote(s.path(usersName, ended), useNote{"cc", "i3"}))
	must(t, writeNote(s.path(usersName, old), useNote{"aa", "i4"}))
	for _, sidecar := range []string{running, old} {
		must(t, os.WriteFile(s.units+"/sidecar-"+sidecar+".service", nil, 0o644))
	}
	const unmounted = "image exists i3\nimage unmount --force i3\n--events-backend=none rm -f -i sidecar-image-i3\n" +
		"ps -a --filter=name=^sidecar-image- --format={{.Names}}\n"
	must(t, s.prune(t.Context()))
	if left, err := s.templates(); err != nil || strings.Join(left, " ") != "aa bb" {
		t.Errorf("templates %q, %v", left, err)
	}
	if left, err := names(s.path(imagesName)); err != nil || strings.Join(left, " ") != "i1 i2 i4" {
		t.Errorf("images %q, %v", left, err)
	}
	if text, err := os.ReadFile(log); string(text) != unmounted || err != nil {
		t.Errorf("podman was called so: %q, %v", text, err)
	}
	if read, err := s.read("bb"); err != nil || read.Image != "i2" || read.Config.Hostname != "h" {
		t.Errorf("%+v, %v", read, err)
	}
	if _, err := s.read("cc"); err == nil || !strings.Contains(err.Error(), "not prepared") {
		t.Errorf("a template that was removed: %v", err)
	}
}

// TestStoreLock: changes wait for launches, which share the lock.
func TestStoreLock(t *testing.T) {
	t.Parallel()
	s, _, _ := storeOf(t)
	one, err := s.lock(t.Context(), lockName, false)
	must(t, err)
	two, err := s.lock(t.Context(), lockName, false)
	must(t, err)
	two()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if unlock, err := s.lock(short, lockName, true); err == nil {
		unlock()
		t.Error("a change did not wait for a launch")
	}
	one()
	unlock, err := s.lock(t.Context(), lockName, true)
	must(t, err)
	unlock()
}

// TestStoreKeepsMore: while images are prepared, the templates of the policy before stay.
func TestStoreKeepsMore(t *testing.T) {
	t.Parallel()
	s, _, _ := storeOf(t)
	for _, step := range []struct {
		templates []string
		more      bool
		want      string
	}{{[]string{"aa"}, false, "aa"}, {[]string{"bb"}, true, "aa bb"}, {[]string{"bb"}, false, "bb"}} {
		_, err := s.keep(step.templates, step.more)
		must(t, err)
		for _, name := range []string{"aa", "bb"} {
			must(t, s.write(name, &template{Root: "/", Config: specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}}))
		}
		must(t, s.prune(t.Context()))
		if left, err := s.templates(); err != nil || strings.Join(left, " ") != step.want {
			t.Errorf("%v: left %q, %v", step, left, err)
		}
	}
}

// FuzzTemplate: a damaged template is an error, not a panic.
func FuzzTemplate(f *testing.F) {
	f.Add(`{"image":"i","root":"/","files":{"/etc/hosts":""},"config":{"process":{"args":[]},"linux":{}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s := store{directory: t.TempDir()}
		must(t, os.WriteFile(s.path("aa"+suffix), []byte(text), 0o600))
		if read, err := s.read("aa"); err == nil {
			_ = read.complete(documentOf(nil), t.TempDir()) // any error will do
		}
	})
}

// TestStoreForget: a note goes when its sidecar's unit has gone, and not while a launch holds
// the lock.
func TestStoreForget(t *testing.T) {
	t.Parallel()
	s, _, _ := storeOf(t)
	const ended, running = "a.p.000000000001", "a.p.000000000002"
	unlock, err := s.lock(t.Context(), lockName, false)
	must(t, err)
	for _, sidecar := range []string{ended, running} {
		must(t, writeNote(s.path(usersName, sidecar), useNote{"aa", "i1"}))
	}
	must(t, os.WriteFile(s.units+"/sidecar-"+running+".service", nil, 0o644))
	s.forget([]string{ended, running, "a.p.000000000003"})
	if left, err := names(s.path(usersName)); err != nil || len(left) != 2 {
		t.Errorf("during a launch: left %q, %v", left, err)
	}
	unlock()
	s.forget([]string{ended, running})
	if left, err := names(s.path(usersName)); err != nil || strings.Join(left, " ") != running {
		t.Errorf("left %q, %v", left, err)
	}
}
