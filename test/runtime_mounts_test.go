//go:build testhost

package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestRuntimeMountsAreTheLaunchsOwn: systemd reads the whole table of mounts whenever it changes.
func TestRuntimeMountsAreTheLaunchsOwn(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-own")
	p := shaped(t, "gated", "t-own")
	pins := "/run/sidecar/launch/" + idOf(tester, p).String()
	done := launched(t, p)
	eventually(t, 10*time.Second, "the pins are made", func() bool { _, err := os.Stat(pins + "/rootfs"); return err == nil })
	for range 10 { // the container is made, and waits at the gate
		if mounts := readFile(t, "/proc/1/mountinfo"); strings.Contains(mounts, pins) {
			t.Fatalf("the host sees a launch's mounts:\n%s", mounts)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := os.Stat(pins + "/rootfs"); err != nil {
		t.Errorf("a launch that is not ready needs its pins: %v", err)
	}
	openGate(t, p)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestRuntimeStateBelowRun: the launch unmounts what lies below /run for itself, but not a
// directory whose pid file it is to read.
func TestRuntimeStateBelowRun(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-below")
	for name, mount := range map[string]bool{"directory": false, "mount": true} {
		t.Run(name, func(t *testing.T) {
			state := "/run/t-state-" + name
			if err := os.Mkdir(state, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(state) })
			if mount {
				if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=755"); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
			}
			agent := "below-" + name
			withPolicy(t, "agents.d", agent, strings.Replace(agentFiles[tester], "/var/lib/tester", state, 1))
			where := filepath.Join(state, "x")
			if err := os.Mkdir(where, 0o755); err != nil {
				t.Fatal(err)
			}
			s := start(t, agent, interfaces.LaunchParameters{
				Profile: "probe", NetworkNamespace: new("t-below"), Arguments: []string{"--pid-file=" + where + "/pid"},
			})
			if got := strings.TrimSpace(readFile(t, where+"/pid")); s.Runtime.ProcessID == nil || got != strconv.FormatInt(*s.Runtime.ProcessID, 10) {
				t.Errorf("the pid file says %q, the process is %v", got, s.Runtime.ProcessID)
			}
		})
	}
}
