package drain

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestSpoolSocketIsTheAgentsOwn shows that an agent which can write into its own
// directory cannot lead the drain to somebody else's socket.
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
			socket, err := OpenSocket(dir)
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
