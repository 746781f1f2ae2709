package launch

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
			err = connect(File{root, "ctl"})
			var reason notYet
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
	var reason notYet
	for range 10 { // nobody accepts, so the queue is full after the first
		if err = connect(File{root, "ctl"}); errors.As(err, &reason) {
			return
		}
	}
	t.Errorf("error %v, want one that says to try again", err)
}
