//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cmdline returns the command line of a process.
func cmdline(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// environ returns the environment of a process.
func environ(t testing.TB, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for assignment := range strings.SplitSeq(strings.TrimSuffix(string(text), "\x00"), "\x00") {
		name, value, _ := strings.Cut(assignment, "=")
		variables[name] = value
	}
	return variables
}

// status returns a field of /proc/PID/status.
func status(t testing.TB, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("process %d has no %s", pid, field)
	return ""
}

// namespaceOf returns the identity of a process's namespace of a kind.
func namespaceOf(t testing.TB, pid int, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// netnsOf returns the same for a network namespace by name.
func netnsOf(t testing.TB, name string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat("/run/netns/"+name, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("net:[%d]", st.Ino)
}

// mountsOf returns the mount points of a process and their options.
func mountsOf(t testing.TB, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	mounts := map[string]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		mounts[fields[4]] = fields[5]
	}
	return mounts
}

// processesWith returns the processes whose command line contains text, as
// pgrep -f would find them, but for ourselves.
func processesWith(text string) []int {
	var found []int
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		var pid int
		if _, err := fmt.Sscanf(entry, "/proc/%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if argv, err := cmdline(pid); err == nil && strings.Contains(strings.Join(argv, " "), text) {
			found = append(found, pid)
		}
	}
	return found
}

// awaitMainLoop waits until a process that waits for events does so. dnsmasq writes
// its pid file before it is through with its start, and ends with 5, a failure, on a
// SIGTERM in between (sig_handler in its dnsmasq.c).
func awaitMainLoop(t testing.TB, pid int) {
	t.Helper()
	eventually(t, 10*time.Second, fmt.Sprintf("process %d waits for events", pid), func() bool {
		// The kernel's function in which it sleeps, of poll(2), select(2) or
		// epoll_wait(2).
		where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
		return err != nil || strings.Contains(string(where), "poll")
	})
}

// alive reports whether a process exists.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// atOnce does something for each item, with so many at the same time, and joins
// the errors.
func atOnce[T any](width int, items []T, do func(T) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(items))
	slots := make(chan struct{}, width)
	for i, item := range items {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(item)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
