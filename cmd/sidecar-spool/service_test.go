package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool/drain"
)

// TestSpoolServiceUnreachable shows that the drain can tell a call that was not made,
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
		_, err := service{dir}.List(t.Context(), interfaces.ListParameters{})
		if !errors.Is(err, drain.ErrUnreachable) || !strings.Contains(err.Error(), "unix:"+path) || strings.Contains(err.Error(), "/proc/") {
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
