package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

const sandboxKey = "neutron-dhcp.0123456789ab"

// loopback returns the loopback interface of a named network namespace.
func (r rig) loopback(t *testing.T, name string) (*net.Interface, error) {
	t.Helper()
	ns, err := r.Namespaces.Open(name)
	must(t, err)
	defer ns.Close()
	var lo *net.Interface
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			lo, err = net.InterfaceByName("lo")
		}
	}()
	<-done
	return lo, err
}

// wantNamespaces compares the names and the pins of namespaces.
func (r rig) wantNamespaces(t *testing.T, when string, names, pins int) {
	t.Helper()
	for dir, want := range map[string]int{r.Namespaces.Path: names, filepath.Dir(r.Base) + "/namespaces": pins} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != want {
			t.Errorf("%s: %s has %v (%v), want %d", when, dir, entries, err, want)
		}
	}
	if mounts := mountsBelow(t, filepath.Dir(r.Base)+"/namespaces"); len(mounts) != pins {
		t.Errorf("%s: %d pins are mounted: %q", when, len(mounts), mounts)
	}
}

func TestLifecycleSandboxNamespace(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	r.Namespaces.Host = fmt.Sprintf("/proc/%d/ns/net", os.Getppid()) // our main thread can be in the one that is made
	must(t, r.CreateNamespace("sb-1", sandboxKey))
	if lo, err := r.loopback(t, "sb-1"); err != nil || lo.Flags&net.FlagUp == 0 {
		t.Errorf("loopback: %+v, %v", lo, err)
	}
	if err := r.CreateNamespace("sb-1", "neutron-l3.0123456789ab"); err == nil {
		t.Error("made twice")
	}
	must(t, r.DeleteNamespace("sb-1", "neutron-dhcp.ba9876543210")) // never made
	must(t, r.Namespaces.Check("sb-1"))
	must(t, r.DeleteNamespace("sb-1", "neutron-l3.0123456789ab")) // could not be made
	must(t, r.Namespaces.Check("sb-1"))
	must(t, r.DeleteNamespace("sb-1", sandboxKey))
	if err := r.Namespaces.Check("sb-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its deletion: %v", err)
	}
	r.wantNamespaces(t, "in the end", 0, 0)
	for _, name := range []string{"", "..", "../x", "a/b"} {
		if r.CreateNamespace(name, sandboxKey) == nil || r.CreateNamespace("sb-1", name) == nil || r.DeleteNamespace(name, sandboxKey) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

// TestLifecycleSandboxOfSomebodyElse: a namespace that has the name by now is not deleted.
func TestLifecycleSandboxOfSomebodyElse(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	r.Namespaces.Host = fmt.Sprintf("/proc/%d/ns/net", os.Getppid()) // our main thread can be in the one that is made
	path := filepath.Join(r.Namespaces.Path, "sb-1")
	must(t, r.CreateNamespace("sb-1", sandboxKey))
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	must(t, os.Remove(path))
	netnstest.Make(t, path)
	if err := r.DeleteNamespace("sb-1", sandboxKey); err == nil {
		t.Error("no error")
	}
	must(t, r.Namespaces.Check("sb-1"))
	r.wantNamespaces(t, "afterwards", 1, 0)

	must(t, r.CreateNamespace("sb-2", sandboxKey))
	must(t, unix.Unmount(r.Namespaces.Path+"/sb-2", unix.MNT_DETACH))
	must(t, os.Remove(r.Namespaces.Path+"/sb-2"))
	must(t, r.DeleteNamespace("sb-2", sandboxKey)) // somebody has deleted the name
	r.wantNamespaces(t, "without the name", 1, 0)

	must(t, os.WriteFile(r.Namespaces.Path+"/sb-3", nil, 0o600))
	if err := r.CreateNamespace("sb-3", sandboxKey); err == nil {
		t.Error("made in place of a file")
	}
}

// TestLifecycleSandboxSweep: the end of a unit was killed before it deleted the namespace.
func TestLifecycleSandboxSweep(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	r.Namespaces.Host = fmt.Sprintf("/proc/%d/ns/net", os.Getppid()) // our main thread can be in the one that is made
	r.Units = t.TempDir()
	keyOf := func(name string) string { return document.SandboxKey("neutron-dhcp", name) }
	for _, name := range []string{"sb-1", "sb-2", "sb-3"} {
		must(t, r.CreateNamespace(name, keyOf(name)))
	}
	must(t, os.WriteFile(filepath.Join(r.Units, document.SandboxUnit(keyOf("sb-1"))), nil, 0o600))
	path := filepath.Join(r.Namespaces.Path, "sb-3") // somebody else has the name by now
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	must(t, os.Remove(path))
	netnstest.Make(t, path)
	pins := filepath.Dir(r.Base) + "/namespaces/"
	must(t, os.WriteFile(pins+keyOf("sb-4"), nil, 0o400)) // killed before it mounted the pin
	must(t, r.Sweep(t.Context()))
	r.wantNamespaces(t, "after the sweep", 2, 1)
	must(t, errors.Join(r.Namespaces.Check("sb-1"), r.Namespaces.Check("sb-3")))

	// The unit is started again before a sweep has come: its pin and its name are new.
	must(t, os.WriteFile(pins+keyOf("sb-4"), nil, 0o400))
	must(t, r.CreateNamespace("sb-2", keyOf("sb-2")))
	path = filepath.Join(r.Namespaces.Path, "sb-2")
	must(t, errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)))
	for _, name := range []string{"sb-2", "sb-4"} {
		must(t, r.CreateNamespace(name, keyOf(name)))
	}
	r.wantNamespaces(t, "made again", 4, 3)
	if err := r.CreateNamespace("sb-3", keyOf("sb-3")); err == nil {
		t.Error("made in the place of somebody else's")
	}
	r.wantNamespaces(t, "not made", 4, 3)
}
