package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// TestSpoolSocketIsTheAgentsOwn shows that an agent which can write into its own
// directory cannot lead the server to somebody else's socket.
func TestSpoolSocketIsTheAgentsOwn(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	listen := func(path string) {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		l, err := net.Listen("unix", path)
		must(t, err)
		t.Cleanup(func() { l.Close() })
	}
	other := filepath.Join(base, "other", interfaces.Name)
	listen(other)
	for what, c := range map[string]struct {
		make func(t *testing.T, dir string)
		ok   bool
	}{
		"a socket":        {func(_ *testing.T, dir string) { listen(filepath.Join(dir, interfaces.Name)) }, true},
		"nothing":         {func(t *testing.T, dir string) { must(t, os.Mkdir(dir, 0o755)) }, false},
		"a link":          {func(t *testing.T, dir string) { linked(t, dir, other) }, false},
		"a relative link": {func(t *testing.T, dir string) { linked(t, dir, "../other/"+interfaces.Name) }, false},
		"a directory":     {func(t *testing.T, dir string) { must(t, os.MkdirAll(filepath.Join(dir, interfaces.Name), 0o755)) }, false},
		"a linked home":   {func(t *testing.T, dir string) { must(t, os.Symlink(filepath.Dir(other), dir)) }, false},
		"a fifo": {func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o755))
			must(t, unix.Mkfifo(filepath.Join(dir, interfaces.Name), 0o666))
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(base, "agent "+what)
			c.make(t, dir)
			socket, err := Socket(dir).open()
			if (err == nil) != c.ok {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				socket.Close()
			}
		})
	}
}

func linked(t *testing.T, dir, target string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Symlink(target, filepath.Join(dir, interfaces.Name)))
}

// TestSpoolServiceUnreachable shows that the server can tell a call that was not made,
// whatever is in the socket's place, and that its caller is told the socket's path.
func TestSpoolServiceUnreachable(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other")
	l, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for what, make := range map[string]func(path string) error{
		"nothing":      func(string) error { return nil },
		"a link":       func(path string) error { return os.Symlink(other, path) },
		"a file":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"nobody there": deserted,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, interfaces.Name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		_, err := Socket(dir).List(t.Context(), interfaces.ListParameters{})
		var unreachable *client.UnreachableError
		if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "unix:"+path) || strings.Contains(err.Error(), "/proc/") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// deserted makes a socket on which nobody listens any more.
func deserted(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}
