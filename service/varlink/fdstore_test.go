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
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// notifySocket plays systemd's end.
type notifySocket struct {
	*net.UnixConn
	t *testing.T
}

func listenNotify(t *testing.T, address string) notifySocket {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return notifySocket{c, t}
}

// next returns a notification and the descriptor that came with it, or -1.
func (n notifySocket) next() (state string, fd int) {
	n.t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 4096)
	got, gotOOB, _, _, err := n.ReadMsgUnix(b, oob)
	if err != nil {
		n.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:gotOOB])
	if err != nil || len(messages) == 0 {
		return string(b[:got]), -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		n.t.Fatalf("descriptors %v, %v", fds, err)
	}
	return string(b[:got]), fds[0]
}

func storeAt(address string) *FDStore {
	return NewFDStore(func(name string) string { return map[string]string{"NOTIFY_SOCKET": address}[name] })
}

// TestVarlinkStore shows what systemd is told, and that it gets the listener
// itself: connections wait in it while nobody else has it open.
func TestVarlinkStore(t *testing.T) {
	t.Parallel()
	for kind, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@sidecar-test-%d", os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			notify, store := listenNotify(t, address), storeAt(address)
			path := filepath.Join(t.TempDir(), "s")
			l, err := Bind(path, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Store("agent", l); err != nil {
				t.Fatal(err)
			}
			inode, err := inodeOf(path)
			if err != nil {
				t.Fatal(err)
			}
			state, fd := notify.next()
			if want := fmt.Sprintf("FDSTORE=1\nFDPOLL=0\nFDNAME=agent.%d", inode); state != want || fd < 0 {
				t.Fatalf("%q with %d, want %q", state, fd, want)
			}
			l.Close()
			if err := refuseDead(path); err != nil {
				t.Error(err)
			}
			unix.Close(fd)
			for range 2 {
				if err := store.Unstore("agent"); err != nil {
					t.Error(err)
				}
			}
			if state, _ := notify.next(); state != fmt.Sprintf("FDSTOREREMOVE=1\nFDNAME=agent.%d", inode) {
				t.Errorf("%q", state)
			}
		})
	}
}

// refuseDead returns an error if nobody listens at path.
func refuseDead(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}

// TestVarlinkStoreAgain shows that a socket bound anew takes its forerunner's
// place, after it is safe itself.
func TestVarlinkStoreAgain(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "notify")
	notify, store := listenNotify(t, address), storeAt(address)
	got := []string{}
	for _, name := range []string{"1", "2"} {
		l, err := Bind(filepath.Join(t.TempDir(), name), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := store.Store("agent", l); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		state, fd := notify.next()
		unix.Close(fd)
		got = append(got, strings.SplitN(state, "=", 2)[0])
	}
	if diff := cmp.Diff([]string{"FDSTORE", "FDSTORE", "FDSTOREREMOVE"}, got); diff != "" {
		t.Errorf("notifications (-want +got):\n%s", diff)
	}
}

func TestVarlinkStoreWithoutSystemd(t *testing.T) {
	t.Parallel()
	l, err := Bind(filepath.Join(t.TempDir(), "s"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(storeAt("").Store("a", l), storeAt("").Unstore("a")); err != nil {
		t.Error(err)
	}
	if err := storeAt("vsock:2:1").Store("a", l); err == nil {
		t.Error("a VSOCK address is taken for a path")
	}
}

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
	notListening := socketFile(t, unix.SOCK_STREAM)
	datagram := socketFile(t, unix.SOCK_DGRAM)

	got := runRestored(t, dir, []stored{
		{good.name("good"), good.File},
		{good.name("good"), good.File},
		{"sidecard.socket", unitSocket.File},
		{gone.name("gone"), gone.File},
		{rebound.name("rebound"), rebound.File},
		{good.name("elsewhere"), good.File},
		{"unknown", good.File},
		{"plain", plain},
		{"notlistening", notListening},
		{"datagram", datagram},
	})
	want := "listener good\nlistener sidecard.socket\nproblems 8\nenvironment \n"
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
	inode, err := inodeOf(path)
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

func socketFile(t *testing.T, kind int) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
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
	listeners, err := storeAt("").Restored(func(name string) (string, bool) {
		return filepath.Join(dir, name), name != "unknown"
	})
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		if err := refuseDead(listeners[name].Addr().String()); err != nil {
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
