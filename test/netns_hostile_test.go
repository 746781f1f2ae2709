//go:build testhost

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// launchFromOwn launches in the namespace that the caller is in, and leaves it to
// the service to find out which that is.
func launchFromOwn(t *testing.T, name string) {
	t.Helper()
	p := probe(t, name)
	p.NetworkNamespace = nil
	began := time.Now()
	result := callFrom(t, foreignCall{Address: socketOf(tester), Parameters: p}, "ip", "netns", "exec", name)
	if result.Error != "" {
		t.Fatal(result.Error)
	}
	t.Logf("launched in %v", time.Since(began))
	stopAtEnd(t, tester, result.Sidecar.ID)
	checkRunning(t, result.Sidecar, p)
}

// TestNetnsFlooded shows that an agent which fills /run/netns does not keep others
// from launching in the namespace that they call from.
func TestNetnsFlooded(t *testing.T) {
	begin(t)
	namespace(t, "t-flooded")
	t.Cleanup(func() { run(t, "find", "/run/netns", "-name", "junk-*", "-delete") })
	for i := range 70_000 {
		if err := os.WriteFile(fmt.Sprintf("/run/netns/junk-%d", i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	launchFromOwn(t, "t-flooded")
}

// TestNetnsThatDoesNotAnswer shows that a file system which an agent has mounted in
// the place of a namespace, and which never answers, holds nobody up.
func TestNetnsThatDoesNotAnswer(t *testing.T) {
	begin(t)
	namespace(t, "t-beside")
	mute(t, netnsDirectory+"t-hangs")
	launchFromOwn(t, "t-beside")
	refused(t, tester, probe(t, "t-hangs"), interfaces.ErrNoSuchNetworkNamespace)
}

// mute mounts a file system on a new file that nobody answers for (fuse(4)).
func mute(t *testing.T, path string) {
	t.Helper()
	if known, err := os.ReadFile("/proc/filesystems"); !strings.Contains(string(known), "\tfuse\n") {
		t.Skipf("this kernel has no fuse (%v)", err)
	}
	device := "/root/fuse" // /tmp is mounted nodev
	if err := unix.Mknod(device, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatal(err)
	}
	fuse, err := os.OpenFile(device, os.O_RDWR, 0)
	_ = os.Remove(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fuse.Close() // first: from now on it answers that it has ended
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
	})
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100000,user_id=0,group_id=0", fuse.Fd())
	if err := unix.Mount("mute", path, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
}
