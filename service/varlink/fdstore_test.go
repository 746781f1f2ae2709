package varlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
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

// storeListener stores a listener with the inode of its file.
func storeListener(s *FDStore, name string, l *net.UnixListener) error {
	inode, err := InodeOf(l.Addr().String())
	if err != nil {
		return err
	}
	return s.Store(name, l, inode)
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
			if err := storeListener(store, "agent", l); err != nil {
				t.Fatal(err)
			}
			inode, err := InodeOf(path)
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

// TestVarlinkStoreAgain shows that a socket bound again takes its predecessor's
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
		if err := storeListener(store, "agent", l); err != nil {
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
	if err := errors.Join(storeListener(storeAt(""), "a", l), storeAt("").Unstore("a")); err != nil {
		t.Error(err)
	}
	if err := storeListener(storeAt("vsock:2:1"), "a", l); err == nil {
		t.Error("a VSOCK address is taken for a path")
	}
}
