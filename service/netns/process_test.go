package netns

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sleeper starts a process and returns it with a pidfd of it.
func sleeper(t *testing.T) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fd)
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd, fd
}

func TestNetnsOfProcess(t *testing.T) {
	t.Parallel()
	cmd, fd := sleeper(t)
	f, err := OfProcess(cmd.Process.Pid, fd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	got, err1 := identify(f)
	want, err2 := identify(own)
	if got != want || err1 != nil || err2 != nil {
		t.Errorf("namespace %v (%v), want our own %v (%v)", got, err1, want, err2)
	}
}

func TestNetnsOfProcessRefusesWhatItCannotBeSureOf(t *testing.T) {
	t.Parallel()
	cmd, fd := sleeper(t)
	if _, err := OfProcess(cmd.Process.Pid, -1); err == nil {
		t.Error("without pidfd: no error")
	}
	if _, err := OfProcess(os.Getpid(), fd); err == nil || !strings.Contains(err.Error(), "is not process") {
		t.Errorf("pidfd of another process: %v", err)
	}
	if _, err := OfProcess(1, 0); err == nil || !strings.Contains(err.Error(), "is not process") {
		t.Errorf("no pidfd at all: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 5000); err != nil {
		t.Fatal(err)
	}
	if _, err := OfProcess(cmd.Process.Pid, fd); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("zombie: %v", err)
	}
	_ = cmd.Wait() // it was killed
	if _, err := OfProcess(cmd.Process.Pid, fd); err == nil {
		t.Error("a reaped process has a namespace")
	}
}
