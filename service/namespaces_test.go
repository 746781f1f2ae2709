package service

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/netns"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// sleeperIn starts a process in the network namespace that is mounted on path.
// The process that it returns is in it already.
func sleeperIn(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net="+path, "sh", "-c", "echo there; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

// TestNetnsOfCaller shows of whom the service tells the namespace, with the pidfd
// that the kernel gives for a socket's peer, and without one, as before Linux 6.5.
func TestNetnsOfCaller(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	directory := t.TempDir()
	h := namespacesIn(netns.Directory{Path: directory, Host: "/proc/self/ns/net"})
	netnstest.Make(t, filepath.Join(directory, "qdhcp-1"))
	nameless := filepath.Join(t.TempDir(), "nameless")
	netnstest.Make(t, nameless)
	named, other, ended := sleeperIn(t, filepath.Join(directory, "qdhcp-1")), sleeperIn(t, nameless), sleeperIn(t, nameless)
	_ = ended.Process.Kill() // the wait says what became of it
	_ = ended.Wait()
	pidfd, err := unix.PidfdOpen(named.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	for name, test := range map[string]struct {
		caller Caller
		want   string // name of the namespace, or what the error says
	}{
		"agent":                            {Caller{Agent: "a", PID: named.Process.Pid, PIDFD: pidfd}, "qdhcp-1"},
		"agent without pidfd":              {Caller{Agent: "a", PID: named.Process.Pid, PIDFD: -1}, "qdhcp-1"},
		"nameless, without pidfd":          {Caller{Agent: "a", PID: other.Process.Pid, PIDFD: -1}, "has no name"},
		"gone, without pidfd":              {Caller{Agent: "a", PID: ended.Process.Pid, PIDFD: -1}, "no such process"},
		"no process, without pidfd":        {Caller{Agent: "a", PID: 0, PIDFD: -1}, "process 0"},
		"operator":                         {Caller{PID: named.Process.Pid, PIDFD: pidfd}, "qdhcp-1"},
		"operator without pidfd":           {Caller{PID: named.Process.Pid, PIDFD: -1}, "qdhcp-1"},
		"on the bus":                       {Caller{PID: named.Process.Pid, PIDFD: -1, Sender: ":1.7"}, "qdhcp-1"},
		"pidfd of another than the number": {Caller{Agent: "a", PID: other.Process.Pid, PIDFD: pidfd}, "is not process"},
	} {
		got, err := h.OfCaller(test.caller)
		switch {
		case err == nil && (got == nil || *got != test.want):
			t.Errorf("%s: %v, want %s", name, got, test.want)
		case err != nil && (!errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want %s", name, err, test.want)
		}
	}
}

// TestNetnsHas shows that a process is looked for in the namespace that has a name
// now, not in the one that had it.
func TestNetnsHas(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	directory := t.TempDir()
	h := namespacesIn(netns.Directory{Path: directory, Host: "/proc/self/ns/net"})
	path := filepath.Join(directory, "qdhcp-1")
	netnstest.Make(t, path)
	pid := sleeperIn(t, path).Process.Pid
	if in, err := h.Has(Caller{}, "qdhcp-1", pid); !in || err != nil {
		t.Errorf("%t, %v; want that it is there", in, err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Has(Caller{}, "qdhcp-1", pid); err == nil {
		t.Error("a name without a namespace is no error")
	}
	netnstest.Make(t, path)
	if in, err := h.Has(Caller{}, "qdhcp-1", pid); in || err != nil {
		t.Errorf("%t, %v; want that it is not in the new one", in, err)
	}
	if _, err := h.Has(Caller{}, "qdhcp-1", 0); err == nil {
		t.Error("no process is no error")
	}
}

// TestHardeningLooksOfOneAgentThatHang shows that they refuse nobody else. A fifo that
// nobody writes to makes them hang: it stands for the host's namespace.
func TestHardeningLooksOfOneAgentThatHang(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	h := namespacesIn(netns.Directory{Path: t.TempDir(), Host: fifo})
	hostile := Caller{Agent: "hostile", PID: os.Getpid(), PIDFD: -1}
	var looks sync.WaitGroup
	for range 2 * maxLooks {
		looks.Go(func() {
			if _, err := h.OfCaller(hostile); !errors.Is(err, interfaces.ErrHostFailure) {
				t.Errorf("a look that hangs: %v", err)
			}
		})
	}
	others := func(when string) {
		for _, other := range []Caller{{Agent: "other"}, {UID: 0}, {UID: 1000}} {
			if err := h.Check(other, "nothing"); !errors.Is(err, os.ErrNotExist) { // a HostFailure if it has waited
				t.Errorf("%s: %s: %v", when, other.LimitKey(), err)
			}
		}
	}
	time.Sleep(lookTimeout / 10)
	others("before it is known that they hang")
	looks.Wait()
	others("afterwards")
	if err := h.Check(hostile, "nothing"); !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("the agent itself: %v", err)
	}
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0) // ends them
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
}
