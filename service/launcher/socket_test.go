package launcher

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

func TestLaunchConnectsToStreamSocketsOnly(t *testing.T) {
	t.Parallel()
	listen := func(network string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}
	}
	tests := map[string]struct {
		create func(*testing.T, string)
		want   string // part of the error, "" for none
		later  bool   // it may still become right
	}{
		"stream":     {listen("unix"), "", false},
		"sequential": {listen("unixpacket"), "not a stream", false},
		"datagram": {func(t *testing.T, path string) {
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}, "not a stream", false},
		"missing": {func(*testing.T, string) {}, "does not exist", true},
		"nobody listens": {func(t *testing.T, path string) {
			must(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
		}, "refused", true},
		"plain file": {func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, "not a socket", false},
		"fifo":       {func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) }, "not a socket", false},
		"link to one": {func(t *testing.T, path string) {
			listen("unix")(t, path+".real")
			must(t, os.Symlink(path+".real", path))
		}, "symbolic link", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, err := os.MkdirTemp("/tmp", "s") // short: a socket's path has 108 bytes
			must(t, err)
			t.Cleanup(func() { os.RemoveAll(root) })
			test.create(t, root+"/ctl")
			err = Launcher{}.connect(documentOf(document.Plan{Socket: &document.File{Root: root, Path: "ctl"}}))
			var reason notReady
			if (err == nil) != (test.want == "") || errors.As(err, &reason) != test.later || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLaunchConnectDoesNotWaitForAFullQueue(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("/tmp", "s")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: root + "/ctl"}))
	must(t, unix.Listen(fd, 0))
	var reason notReady
	p := documentOf(document.Plan{Socket: &document.File{Root: root, Path: "ctl"}})
	for range 10 { // nobody accepts, so the queue is full after the first
		if err = (Launcher{}).connect(p); errors.As(err, &reason) {
			return
		}
	}
	t.Errorf("error %v, want one that says to try again", err)
}

// TestHardeningReadinessConnectsFromThePayloadsNamespace asks an accepted connection for
// its network namespace, as a payload with CAP_NET_ADMIN can, and looks whose the socket
// is afterwards.
func TestHardeningReadinessConnectsFromThePayloadsNamespace(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	netnstest.Make(t, r.Namespaces.Path+"/n")
	p := r.plan()
	p.Context.NetworkNamespace = new("n")
	p.User, p.Group = someUser, someUser
	p.Socket = &document.File{Root: r.state, Path: "dhcp/1/ctl"}
	must(t, r.Prepare(p))
	must(t, os.Chdir(r.state+"/dhcp/1")) // a socket's path has 108 bytes
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "ctl", Net: "unix"})
	must(t, err)
	defer l.Close()
	must(t, os.Chown("ctl", 99, 99))
	must(t, r.connect(p))
	if got := ownersOf(t, "ctl"); !strings.HasPrefix(got, "99:99 ") {
		t.Errorf("somebody else's socket is %s", got)
	}
	must(t, os.Chown("ctl", someUser, someUser))
	must(t, os.Link("ctl", "second-name"))
	must(t, r.connect(p))
	if got := ownersOf(t, "ctl"); !strings.HasPrefix(got, "4711:4711 ") {
		t.Errorf("a socket with two names is %s", got)
	}
	must(t, os.Remove("second-name"))
	must(t, r.connect(p))
	if got := ownersOf(t, "ctl"); !strings.HasPrefix(got, "0:4711 ") {
		t.Errorf("the socket is %s, want it to be the directory's owner's", got)
	}
	conn, err := l.AcceptUnix()
	must(t, err)
	defer conn.Close()
	accepted, err := conn.File()
	must(t, err)
	defer accepted.Close()
	want, err := r.Namespaces.Open("n")
	must(t, err)
	defer want.Close()
	if !sameFile(t, namespaceOfSocket(t, accepted), want) {
		t.Error("the accepted socket belongs to another network namespace than the payload's")
	}
	must(t, r.Clean(p.ID))
}
