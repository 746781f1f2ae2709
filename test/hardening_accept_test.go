//go:build testhost

package test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// writableProc mounts another proc(5): the host's own /proc/sys is read-only in a
// container.
func writableProc(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("/root", "proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
	})
	if err := unix.Mount("proc", path, "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHardeningAcceptWithoutEpollWatches uses up what root may have of epoll watches
// (epoll(7)), by lowering the limit: the kernel then takes no accepted connection into
// the daemon's epoll set (ENOSPC). When there are some again, all sockets serve, and
// the daemon has not restarted.
func TestHardeningAcceptWithoutEpollWatches(t *testing.T) {
	begin(t)
	epollLimit := writableProc(t) + "/sys/fs/epoll/max_user_watches"
	before, err := os.ReadFile(epollLimit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(epollLimit, before, 0); err != nil {
		t.Skipf("%s cannot be written here: %v", epollLimit, err)
	}
	// The limit holds for the whole machine, so it is restored even if this test is killed.
	guard := exec.Command("sh", "-c", "sleep 20; echo "+strings.TrimSpace(string(before))+" >"+epollLimit)
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := os.WriteFile(epollLimit, before, 0); err != nil {
			t.Errorf("%s: %v", epollLimit, err)
		}
	}
	t.Cleanup(func() {
		restore()
		_ = guard.Process.Kill()
		_ = guard.Wait()
	})
	sockets := []string{hostSocket, socketOf(tester)}
	results := map[string]error{}
	if err := os.WriteFile(epollLimit, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for _, socket := range sockets {
		results[socket] = hungUp(socket)
	}
	restore()
	for socket, err := range results {
		if err != nil {
			t.Errorf("%s: %v", socket, err)
		}
	}
	for _, socket := range sockets {
		if _, err := at(t, socket).ListProfiles(minute(t), agentOn(socket)); err != nil {
			t.Errorf("%s when there are watches again: %v", socket, err)
		}
	}
}

// hungUp connects three times and returns an error unless the service hangs up. It
// does without epoll.
func hungUp(path string) error {
	for range 3 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		patience := unix.Timeval{Sec: 5}
		if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
			unix.Connect(fd, &unix.SockaddrUnix{Name: path})); err != nil {
			return err
		}
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || errors.Is(err, unix.EAGAIN) {
			return errors.New("the limit does not keep the service from accepting")
		}
	}
	return nil
}
