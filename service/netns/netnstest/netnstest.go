// Package netnstest gives tests a mount namespace of their own and namespaces
// to play with, so that nothing they do shows on the machine.
package netnstest

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs the test in its own mount namespace.
const inside = "SIDECAR_TEST_PRIVATE_MOUNTS"

// Private runs the calling top-level test again, in a process with a mount
// namespace of its own in which every mount is private. It returns true there;
// in the first process it returns false when that run has ended, and fails the
// test if that run failed. The test returns at once on false.
func Private(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	args := []string{"-test.run=^" + regexp.QuoteMeta(t.Name()) + "$", "-test.v", "-test.timeout=5m"}
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.short") {
			args = append(args, arg)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inside+"=1", "GORACE=atexit_sleep_ms=0") // the race detector waits a second otherwise
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case err != nil:
		t.Errorf("in a mount namespace of its own: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()):
		t.Skip(text)
	case !strings.Contains(text, "--- PASS: "+t.Name()):
		t.Errorf("did not run in a mount namespace of its own:\n%s", text)
	}
	return false
}

// Make mounts a new network namespace on path, as ip netns add does.
func Make(t *testing.T, path string) { t.Helper(); mountNew(t, path, unix.CLONE_NEWNET, "net") }

// MakeUTS mounts a new namespace of another kind (the host name) on path.
func MakeUTS(t *testing.T, path string) { t.Helper(); mountNew(t, path, unix.CLONE_NEWUTS, "uts") }

// Bind mounts source on a new empty file, path.
func Bind(t *testing.T, source, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mounting %s on %s: %v", source, path, err)
	}
	// A later mount on the same path is taken away by its own cleanup.
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// mountNew takes the namespace of a short-lived process. A thread of the test
// would not do: the main thread's namespaces are what /proc/self shows.
func mountNew(t *testing.T, path string, flag uintptr, kind string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("making a namespace of kind %s: %v", kind, err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	Bind(t, "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/"+kind, path)
}
