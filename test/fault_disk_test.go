//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const podmanStorage = "/var/lib/containers/storage"

// checkWithoutStorage launches while podman cannot write: with podman the launch fails and says
// why, with the runtime engine it works. What runs goes on, and can be stopped.
func checkWithoutStorage(t *testing.T, fault func(t *testing.T) (mend func()), says string) {
	t.Helper()
	namespace(t, "t-storage")
	before := start(t, tester, probe(t, "t-storage"))
	p := probe(t, "t-storage")
	stopAtEnd(t, tester, idOf(tester, p).String())
	mend := fault(t)
	_, err := as(t, tester).Launch(minute(t), p)
	var failed *interfaces.LaunchFailedError
	switch {
	case usedEngine == runtimeEngine && err != nil:
		t.Errorf("launch: %v", err)
	case usedEngine == podmanEngine && !errors.As(err, &failed):
		t.Fatalf("launch: %v, want LaunchFailed", err)
	case usedEngine == podmanEngine && !strings.Contains(strings.Join(failed.Output, "\n"), says):
		t.Errorf("it says %q, want %q", failed.Output, says)
	}
	if !alive(int(*before.Runtime.ProcessID)) {
		t.Error("what ran has ended")
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: before.ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
	mend()
	eventually(t, 30*time.Second, "the containers are removed", func() bool {
		all, err := containers()
		return err == nil && (len(all) == 0 || usedEngine == runtimeEngine && len(all) == 1)
	})
	start(t, tester, p)
}

func TestFaultStorageReadOnly(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		checkWithoutStorage(t, func(t *testing.T) func() {
			eventually(t, 20*time.Second, "nobody writes to podman's storage", func() bool {
				_, err := output("mount", "-o", "remount,bind,ro", "/var/lib/containers")
				return err == nil
			})
			mend := func() { run(t, "mount", "-o", "remount,bind,rw", "/var/lib/containers") }
			t.Cleanup(mend)
			return mend
		}, "read-only file system")
	})
}

// TestFaultStorageFull: podman keeps the files of each container in /var.
func TestFaultStorageFull(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		directory := podmanStorage + "/overlay-containers"
		ownFileSystem(t, directory)
		checkWithoutStorage(t, func(t *testing.T) (mend func()) {
			filler := filepath.Join(directory, "filler")
			if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); err == nil {
				t.Fatal("the disk is not full")
			}
			// podman 4.3 finds space for a small file; so there is no place for a new one, either.
			var st unix.Statfs_t
			if err := unix.Statfs(directory, &st); err != nil {
				t.Fatal(err)
			}
			run(t, "mount", "-o", fmt.Sprint("remount,nr_inodes=", st.Files-st.Ffree), directory)
			return func() {
				_ = os.Remove(filler)
				run(t, "mount", "-o", "remount,nr_inodes=10000", directory)
			}
		}, "no space left on device")
	})
}

// ownFileSystem puts a directory on a small file system of its own, until the test ends. Nothing
// may be mounted in it before and after.
func ownFileSystem(t *testing.T, directory string) {
	t.Helper()
	copied := t.TempDir()
	run(t, "cp", "-a", directory+"/.", copied)
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size=4m,mode=700"); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "-a", copied+"/.", directory)
	t.Cleanup(func() {
		run(t, "sh", "-c", `rm -rf "$0"/* "$0"/.[!.]*; cp -a "$1"/. "$0"`, copied, directory)
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		run(t, "sh", "-c", `rm -rf "$0"/* "$0"/.[!.]*; cp -a "$1"/. "$0"`, directory, copied)
	})
}

// TestFaultJournalDiskFull: decisions are made without a journal, and written again when there is
// space.
func TestFaultJournalDiskFull(t *testing.T) {
	begin(t)
	namespace(t, "t-journal")
	directories := []string{"/var/log/journal", "/run/log/journal"}
	again := func() {
		for _, directory := range directories {
			_ = unix.Unmount(directory, unix.MNT_DETACH)
		}
		run(t, "systemctl", "restart", "systemd-journald")
	}
	t.Cleanup(again)
	for _, directory := range directories {
		if err := errors.Join(os.MkdirAll(directory, 0o755), unix.Mount("tmpfs", directory, "tmpfs", 0, "size=24m")); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "systemctl", "restart", "systemd-journald") // it would not start on a full disk
	for _, directory := range directories {
		if err := os.WriteFile(directory+"/filler", make([]byte, 32<<20), 0o600); err == nil {
			t.Fatal("the disk is not full")
		}
	}
	_, _ = output("journalctl", "--rotate") // makes new files, for which there is no space
	p := probe(t, "t-journal")
	s := start(t, tester, p)
	bad := p
	bad.Arguments = append(bad.Arguments[:1:1], "--evil")
	refused(t, tester, bad, interfaces.ErrArgumentNotAllowed)
	again()
	since := now()
	refused(t, tester, bad, interfaces.ErrArgumentNotAllowed)
	eventually(t, 10*time.Second, "a decision is in the journal again", func() bool {
		return len(entriesSince(t, since, decisionID, "AGENT="+tester)) > 0
	})
	if now := get(t, tester, s.ID); *now.Runtime.InvocationID != *s.Runtime.InvocationID {
		t.Error("the sidecar was started again")
	}
}

// TestFaultSlowSync: each fsync(2) and fdatasync(2) of podman takes a second, as on a disk that is
// busy. A launch takes so long, and nothing is lost or done twice.
func TestFaultSlowSync(t *testing.T) {
	begin(t)
	namespace(t, "t-slow")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const slow = "/usr/local/bin/podman-slow"
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s /usr/bin/podman \"$@\"\n", self, slowSync)
	if err := os.WriteFile(slow, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(slow) })
	withSettings(t, "ExecStart=", "ExecStart=/usr/libexec/sidecar/sidecard -podman "+slow)
	began := time.Now()
	p := probe(t, "t-slow")
	s := start(t, tester, p)
	took := time.Since(began)
	t.Logf("a launch took %v", took)
	if took < time.Second {
		t.Errorf("a launch took %v: nothing was synced slowly", took)
	}
	if got := processesWith(pidFileOf(p.Arguments)); len(got) != 1 {
		t.Errorf("processes %v", got)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
	eventually(t, time.Minute, "the container is removed", func() bool { return checkClean() == nil })
}
