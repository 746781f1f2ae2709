//go:build testhost

package test

import (
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHardeningLentSocket: an agent in the host's network namespace gives a payload with
// all capabilities of a shipped profile its sockets. An IP socket leads to the host's
// namespace, interfaces, routes or packet filters neither by options nor by ioctls. A
// netlink socket does: SECURITY.md, "What is not covered", says so.
func TestHardeningLentSocket(t *testing.T) {
	begin(t)
	a := targetOf(t, "dnsmasq")
	path := a.writable + "/lend"
	s := a.begin(t, "lent-socket", path)
	lend(t, path)
	got := a.result(t, s)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want := map[bool]string{true: "ok", false: "EPERM"}[name == throughNetlink]; got[name] != want {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	if len(got) < 4*len(tables) {
		t.Errorf("it has tried %d things only", len(got))
	}
}

// lend passes an IP socket and a netlink socket of this network namespace to who listens at
// the path.
func lend(t *testing.T, path string) {
	t.Helper()
	var conn *net.UnixConn
	eventually(t, 10*time.Second, "the payload listens", func() bool {
		var err error
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		return err == nil
	})
	defer conn.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	routes, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(routes)
	if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd, routes), nil); err != nil {
		t.Fatal(err)
	}
}
