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
	"time"
)

// dialHost connects to the host's systemd.
func dialHost(t *testing.T) *Conn {
	t.Helper()
	if os.Getenv("SIDECAR_TESTHOST") != "1" {
		t.Skip("SIDECAR_TESTHOST=1 is not set: this is not a test host")
	}
	c, err := Dial(context.Background(), Config{Digest: whole, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
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

// Every property that this package can make is known to the oldest systemd.
func TestSystemdAcceptsProperties(t *testing.T) {
	c := dialHost(t)
	const name = "sdt-properties.service"
	t.Cleanup(func() { sweep(t, c, name) })
	properties := append(script(kindReady),
		ExecStopPost([]string{"/bin/false", "$x"}, []string{"/bin/true"}),
		SuccessExitStatus([]int32{143, 137}, []int32{12}), LogExtraFields("AGENT=a b", "PROFILE=c"),
		Bool("Delegate", true), String("KillMode", "mixed"), String("Slice", "sdt-properties.slice"),
		String("Restart", "on-failure"), Duration("RestartUSec", 100*time.Millisecond), String("SyslogIdentifier", "x"),
		Uint64("MemoryMax", 64<<20), Uint64("TasksMax", 16), Uint64("CPUWeight", 100), Int32("OOMScoreAdjust", 100),
		RestartForceExitStatus([]int32{0}, nil), Uint32("StartLimitBurst", 6), Duration("StartLimitIntervalUSec", time.Minute),
		Duration("CPUQuotaPerSecUSec", 500*time.Millisecond),
		Duration("LogRateLimitIntervalUSec", time.Second), Uint32("LogRateLimitBurst", 7), Strings("After", "basic.target"),
	)
	u, err := c.Start(testContext(t), name, properties)
	if err != nil || u.ControlGroup != "/sdt.slice/sdt-properties.slice/"+name {
		t.Fatalf("start: %+v, %v", u, err)
	}
	run(t, "systemctl", "kill", "--signal=KILL", name)
	waitFor(t, "the restart", func() bool {
		u, err = c.Get(testContext(t), name)
		return err == nil && u.NRestarts == 1 && u.ActiveState == "active"
	})
}
