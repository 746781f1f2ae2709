//go:build testhost

package test

import (
	"os"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestFaultNamespaceRemoved removes a namespace before, during and after a start.
func TestFaultNamespaceRemoved(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		p := shaped(t, "gated", "t-removed")
		refused(t, tester, p, interfaces.ErrNoSuchNetworkNamespace)
		namespace(t, "t-removed")
		was := netnsOf(t, "t-removed")
		id := idOf(tester, p).String()
		stopAtEnd(t, tester, id)
		launched := make(chan error, 1)
		go func() {
			_, err := as(t, tester).Launch(minute(t), p)
			launched <- err
		}()
		eventually(t, 15*time.Second, "its payload runs", func() bool { return len(programIn(t, idOf(tester, p).Unit(), "sh")) > 0 })
		run(t, "ip", "netns", "delete", "t-removed")
		openGate(t, p)
		if err := <-launched; err != nil {
			t.Fatalf("a launch whose namespace was removed meanwhile: %v", err)
		}
		s := get(t, tester, id)
		checkRunning(t, s, p)
		if got := namespaceOf(t, int(*s.Runtime.ProcessID), "net"); got != was {
			t.Errorf("it runs in %s, want %s", got, was)
		}
		// A launch in its place is refused before it stops what runs.
		refused(t, tester, p, interfaces.ErrNoSuchNetworkNamespace)
		checkRunning(t, get(t, tester, id), p)
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: id}); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

// TestFaultNetnsUnshared: the host sees an empty file where an agent has made a namespace.
func TestFaultNetnsUnshared(t *testing.T) {
	begin(t)
	namespace(t, "t-shared") // ip makes /run/netns a mount
	unshareNetns(t)
	t.Cleanup(func() { _ = os.Remove(netnsDirectory + "t-unshared") })
	run(t, "unshare", "--mount", "--propagation=unchanged", "ip", "netns", "add", "t-unshared")
	err := refused(t, tester, probe(t, "t-unshared"), interfaces.ErrNoSuchNetworkNamespace)
	if !strings.Contains(err.Error(), "rshared") {
		t.Errorf("it says %v", err)
	}
	start(t, tester, probe(t, "t-shared"))
}

// unshareNetns makes /run/netns private until the test ends. Below the mount there is /run's own
// directory, with the same namespaces: ip has bound it onto itself, and so in the same group.
func unshareNetns(t *testing.T) {
	t.Helper()
	run(t, "sh", "-c", "mountpoint -q /run/netns || { mount --bind /run/netns /run/netns && mount --make-shared /run/netns; }")
	run(t, "mount", "--make-private", "/run/netns")
	t.Cleanup(func() { run(t, "umount", "--lazy", "/run/netns") })
}
