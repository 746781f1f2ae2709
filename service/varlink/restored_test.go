package varlink

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestRestartVarlinkRestored starts a process the way systemd does, with sockets
// of every kind, and shows which ones it takes.
func TestRestartVarlinkRestored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := bindFile(t, filepath.Join(dir, "good"))
	unitSocket := bindFile(t, filepath.Join(dir, "sidecard.socket"))
	gone := bindFile(t, filepath.Join(dir, "gone"))
	rebound := bindFile(t, filepath.Join(dir, "rebound"))
	for _, name := range []string{"gone", "rebound"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	bindFile(t, filepath.Join(dir, "rebound"))
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "good"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	deaf := socketFile(t, unix.SOCK_STREAM, filepath.Join(dir, "deaf"))
	packets := socketFile(t, unix.SOCK_SEQPACKET, filepath.Join(dir, "packets"))
	if err := unix.Listen(int(packets.Fd()), 1); err != nil {
		t.Fatal(err)
	}
	agent, plainAgent := bindAgentFile(t, dir, "agent"), bindAgentFile(t, dir, "agent-without-inode")

	got := runRestored(t, dir, []stored{
		{agent.name("agent"), agent.File},
		{"agent-without-inode", plainAgent.File},
		{agent.name("HOST"), agent.File},
		{good.name("good"), good.File},
		{good.name("good"), good.File},
		{"sidecard.socket", unitSocket.File},
		{gone.name("gone"), gone.File},
		{rebound.name("rebound"), rebound.File},
		{good.name("elsewhere"), good.File},
		{"unknown", good.File},
		{"plain", plain},
		{"deaf", deaf},
		{"packets", packets},
	})
	want := "listener agent\nlistener good\nlistener sidecard.socket\nproblems 10\nenvironment \n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// TestRestartVarlinkRestoredForAnother shows that a descriptor that was passed
// to another process is left alone.
func TestRestartVarlinkRestoredForAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := bindFile(t, filepath.Join(dir, "good"))
	got := runRestored(t, dir, []stored{{good.name("good"), good.File}}, "LISTEN_PID=1")
	if diff := cmp.Diff("problems 0\nenvironment \n", got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

type stored struct {
	name string
	file *os.File
}

type boundFile struct {
	*os.File
	inode uint64
}

func (b boundFile) name(name string) string { return fmt.Sprintf("%s.%d", name, b.inode) }

func bindFile(t *testing.T, path string) boundFile {
	t.Helper()
	l, err := Bind(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return fileOf(t, l, path)
}

// bindAgentFile binds an agent's socket, in whose place testPlace looks for it.
func bindAgentFile(t *testing.T, dir, agent string) boundFile {
	t.Helper()
	l, err := BindAgent(dir, agent)
	if err != nil {
		t.Fatal(err)
	}
	return fileOf(t, l, AgentSocket(dir, agent))
}

// testPlace is where the sockets of the tests are. The host's is an agent's file here: all
// of it fits but for the address.
func testPlace(dir, name string) string {
	switch {
	case name == "HOST":
		return AgentSocket(dir, "agent")
	case strings.HasPrefix(name, "agent"):
		return AgentSocket(dir, name)
	}
	return filepath.Join(dir, name)
}

func fileOf(t *testing.T, l *net.UnixListener, path string) boundFile {
	t.Helper()
	inode, err := InodeOf(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	return boundFile{f, inode}
}

// socketFile is a socket bound at path that does not listen.
func socketFile(t *testing.T, kind int, path string) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return f
}

// runRestored runs this test program once more as TestRestoredHelper.
func runRestored(t *testing.T, dir string, fds []stored, environment ...string) string {
	t.Helper()
	names := []string{}
	cmd := exec.Command("/bin/sh", "-c", `: ${LISTEN_PID:=$$}; export LISTEN_PID; exec "$0" -test.run='^TestRestoredHelper$'`, os.Args[0])
	for _, s := range fds {
		names = append(names, s.name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.Env = append(os.Environ(), append(environment, "SIDECAR_RESTORED_DIR="+dir,
		fmt.Sprintf("LISTEN_FDS=%d", len(fds)), "LISTEN_FDNAMES="+strings.Join(names, ":"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	result, _, _ := strings.Cut(string(out), "PASS")
	return result
}

// TestRestoredHelper is the process that gets the descriptors; on its own it
// shows nothing.
func TestRestoredHelper(t *testing.T) {
	dir := os.Getenv("SIDECAR_RESTORED_DIR")
	if dir == "" {
		t.Skip("is run by TestRestartVarlinkRestored")
	}
	listeners, err := storeAt("").Restored(func(name string) (string, uint64, error) {
		if name == "unknown" {
			return "", 0, errors.New("not served any more")
		}
		path := testPlace(dir, name)
		inode, err := InodeOf(path)
		return path, inode, err
	})
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		if err := refuseDead(testPlace(dir, name)); err != nil {
			t.Error(err)
		}
		c, err := listeners[name].Accept()
		if err != nil {
			t.Error(err)
			continue
		}
		c.Close()
		fmt.Println("listener", name)
	}
	problems := 0
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		problems = len(joined.Unwrap())
	}
	fmt.Println("problems", problems)
	fmt.Println("environment", os.Getenv("LISTEN_PID")+os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_FDNAMES"))
}
