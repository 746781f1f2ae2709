//go:build testhost

// These tests need root on a host whose systemd and bus they may disturb. Build
// them with go test -c -tags testhost and run the binary there.

package systemd

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// dialHost connects to the host's systemd.
func dialHost(t *testing.T) *Conn {
	t.Helper()
	if os.Getenv("SIDECAR_TESTHOST") != "1" {
		t.Skip("SIDECAR_TESTHOST=1 is not set: this is not a test host")
	}
	c, err := Dial(context.Background(), Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sweep stops all units of a test.
func sweep(t *testing.T, c *Conn, pattern string) {
	t.Helper()
	list, err := c.List(context.Background(), pattern)
	if err != nil {
		t.Errorf("sweep: %v", err)
	}
	for _, u := range list {
		if _, err := c.Stop(context.Background(), u.Name, 1); err != nil {
			t.Errorf("sweep: %v", err)
		}
	}
}

func TestSystemdBehaves(t *testing.T) {
	c := dialHost(t)
	for what, behave := range behaviours() {
		t.Run(what, func(t *testing.T) {
			name := "sdt-" + filepath.Base(t.TempDir()) + "-behaves.service"
			t.Cleanup(func() { sweep(t, c, "*"+name) })
			behave(t, c, name)
		})
	}
}
