//go:build testhost

package test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestHardeningContainerThatCannotBeRemoved makes podman fail to remove a container: the
// failure shows, somebody goes on trying, and when it works nothing is left. A launch of
// the same sidecar is not disturbed by that.
func TestHardeningContainerThatCannotBeRemoved(t *testing.T) {
	begin(t)
	namespace(t, "t-leftover")
	p := probe(t, "t-leftover")
	s := start(t, tester, p)
	release := immutable(t, podmanDatabase(t))
	since := now()
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/run/sidecar/leftovers/" + s.ID); err != nil {
		t.Errorf("no note of the container: %v", err)
	}
	eventually(t, 30*time.Second, "sidecar-clean.service tries and says that it failed", func() bool {
		return len(entriesSince(t, since, "_SYSTEMD_UNIT=sidecar-clean.service", "SYSLOG_IDENTIFIER=sidecar-launch")) > 0
	})
	if show(t, "sidecar-clean.service", "ActiveState") == "inactive" {
		t.Error("sidecar-clean.service has given up")
	}
	wantLeftTold(t, since, s.ID)
	release()
	eventually(t, 30*time.Second, "the container is removed", func() bool { return checkClean() == nil })
	eventually(t, 30*time.Second, "sidecar-clean.service is done", func() bool {
		return show(t, "sidecar-clean.service", "ActiveState") == "inactive"
	})
	again := start(t, tester, p)
	run(t, "systemctl", "start", "sidecar-clean.service")
	if got := get(t, tester, again.ID); got.Runtime.InvocationID == nil || *got.Runtime.InvocationID != *again.Runtime.InvocationID || got.Runtime.State != interfaces.StateReady {
		t.Errorf("after a sweep the new one is %+v", got.Runtime)
	}
}

// TestHardeningCleanUpThatIsKilled kills the clean-up of a unit before it is through: the
// service sees what is left, and has it removed.
func TestHardeningCleanUpThatIsKilled(t *testing.T) {
	begin(t)
	namespace(t, "t-killed")
	s := start(t, tester, probe(t, "t-killed"))
	note := "/run/sidecar/leftovers/" + s.ID
	since := now()
	stopped := make(chan error, 1)
	go func() {
		_, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID})
		stopped <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(note); err == nil {
			break
		}
	}
	pid, err := strconv.Atoi(show(t, s.Runtime.Unit, "ControlPID"))
	if err != nil || pid == 0 {
		t.Fatalf("no clean-up is under way: process %d, %v", pid, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "the container is removed", func() bool {
		_, err := os.Stat(note)
		return errors.Is(err, os.ErrNotExist) && checkClean() == nil
	})
	wantLeftTold(t, since, s.ID)
}

// TestHardeningMountPointThatIsNotEmpty: podman 5.4 cannot remove a container whose root is no
// longer mounted, if something lies in the mount point, as when podman is killed while the OCI
// runtime makes its mount points there.
func TestHardeningMountPointThatIsNotEmpty(t *testing.T) {
	begin(t)
	namespace(t, "t-mount")
	s := start(t, tester, probe(t, "t-mount"))
	container := strings.TrimSuffix(s.Runtime.Unit, ".service")
	merged := run(t, "podman", "container", "inspect", "--format={{.GraphDriver.Data.MergedDir}}", container)
	run(t, "umount", merged)
	run(t, "mkdir", merged+"/proc")
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Error(err)
	}
	if err := becomesClean(); err != nil {
		t.Errorf("left after the stop: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(merged)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the container's directory: %v", err)
	}
}

// wantLeftTold waits until the service has said that a sidecar's container is left.
func wantLeftTold(t *testing.T, since, id string) {
	t.Helper()
	eventually(t, 10*time.Second, "the service says that the container of "+id+" is left", func() bool {
		return slices.ContainsFunc(entriesSince(t, since, "_SYSTEMD_UNIT=sidecard.service"), func(e entry) bool {
			text, _ := e["MESSAGE"].(string)
			return strings.Contains(text, "could not be removed yet") && strings.Contains(text, id)
		})
	})
}

// podmanDatabase is the file in which podman has its containers. It is not the files of
// one container that are held here: podman 4.3 forgets a container whose files it cannot
// delete, and says on the second try that it has removed it.
func podmanDatabase(t *testing.T) string {
	t.Helper()
	const storage = "/var/lib/containers/storage/"
	for _, path := range []string{storage + "db.sql", storage + "libpod/bolt_state.db"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("podman has no database")
	return ""
}

// immutable keeps even root from changing a file or directory (ioctl_iflags(2)), until
// the test ends or release is called.
func immutable(t *testing.T, path string) (release func()) {
	t.Helper()
	const flag = 0x10 // FS_IMMUTABLE_FL
	set := func(on bool) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		flags &^= flag
		if on {
			flags |= flag
		}
		return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set(false) }) // it may be gone
	return func() {
		if err := set(false); err != nil {
			t.Error(err)
		}
	}
}

// TestHardeningRemovalThatTakesLong holds podman's removal of a container for longer than
// the payload gets to exit: the stop waits for it, and the sidecar does not count as failed.
func TestHardeningRemovalThatTakesLong(t *testing.T) {
	begin(t)
	namespace(t, "t-slow")
	s := start(t, tester, probe(t, "t-slow"))
	since := now()
	stopped := make(chan error, 1)
	go func() {
		_, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID})
		stopped <- err
	}()
	holdRemoval(t, strings.TrimSuffix(s.Runtime.Unit, ".service"), 7*time.Second)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := becomesClean(); err != nil {
		t.Errorf("right after the stop: %v", err)
	}
	for _, e := range entriesSince(t, since, "UNIT="+s.Runtime.Unit) {
		if text, _ := e["MESSAGE"].(string); strings.Contains(text, "timed out") || strings.Contains(text, "Failed with result") {
			t.Errorf("systemd says of the unit: %s", text)
		}
	}
}

// holdRemoval stops podman's removal of a container as soon as it runs, for a while.
func holdRemoval(t *testing.T, container string, while time.Duration) {
	t.Helper()
	pid := 0
	for deadline := time.Now().Add(10 * time.Second); pid == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no removal within 10 s")
		}
		for _, found := range processesWith("rm -f -i -t 0 " + container) {
			if argv, err := cmdline(found); err == nil && strings.HasSuffix(argv[0], "podman") {
				pid = found
			}
		}
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(while)
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Errorf("the removal has not waited: %v", err)
	}
}
