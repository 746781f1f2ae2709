//go:build testhost

package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// TestHardeningAcceptWithoutEpollWatches leaves root no epoll watches (epoll(7)): the
// kernel then takes no accepted connection into the daemon's epoll set (ENOSPC). When
// there are some again, all sockets serve, and the daemon has not restarted.
//
// The daemon is root, and the kernel has one limit for all users of the machine, but it
// counts them one by one. So the limit is lowered to what root has in PID 1 alone: other
// users, who have fewer, notice nothing. It is low until the sockets have hung up, some
// milliseconds; only watches that root's programs add meanwhile are refused, not those
// that they have.
func TestHardeningAcceptWithoutEpollWatches(t *testing.T) {
	begin(t)
	restore := limitEpollWatches(t, epollWatches(t, 1))
	sockets := []string{hostSocket, socketOf(tester)}
	var err error
	for _, socket := range sockets {
		if err = hungUp(socket); err != nil {
			break
		}
	}
	restore()
	if err != nil {
		t.Error(err)
	}
	for _, socket := range sockets {
		if _, err := at(t, socket).ListProfiles(minute(t), agentOn(socket)); err != nil {
			t.Errorf("%s when there are watches again: %v", socket, err)
		}
	}
}

// epollWatches counts what a process has in its epoll sets: a line with "tfd:" for each
// (proc_pid_fdinfo(5)).
func epollWatches(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		text, _ := os.ReadFile(file) // or it is closed by now
		n += strings.Count("\n"+string(text), "\ntfd:")
	}
	if n == 0 {
		t.Fatalf("process %d has no epoll watches", pid)
	}
	return n
}

// limitEpollWatches lowers the machine's limit until restore is called, the test ends or,
// if it is killed, for 10 s. Only the end of the whole test host in between leaves it low.
func limitEpollWatches(t *testing.T, limit int) (restore func()) {
	t.Helper()
	file := writableProc(t) + "/sys/fs/epoll/max_user_watches"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(file, before, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		lacking(t, "fs.epoll.max_user_watches cannot be written in this container: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	guard := exec.Command("sh", "-c", "sleep 10; echo "+strings.TrimSpace(string(before))+" >"+file)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	t.Cleanup(func() {
		restore()
		_ = unix.Kill(-guard.Process.Pid, unix.SIGKILL)
		_ = guard.Wait()
	})
	if err := os.WriteFile(file, []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Fatal(err)
	}
	return restore
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
			return fmt.Errorf("%s: the limit does not keep the service from accepting", path)
		}
	}
	return nil
}
