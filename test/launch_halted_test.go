//go:build testhost

package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// unitStarting is the MESSAGE_ID of systemd's "Starting ..." (sd-messages.h,
// SD_MESSAGE_UNIT_STARTING).
const unitStarting = "7d4958e842da4a758f6c1cdc7b36dcc5"

// TestLaunchForeignStopOfAStart stops a unit from outside, and kills one, while podman
// makes its container. Nobody starts it once more, and nothing is left of it.
func TestLaunchForeignStopOfAStart(t *testing.T) {
	begin(t)
	namespace(t, "t-halt")
	for _, command := range []string{"stop", "kill"} {
		t.Run(command, func(t *testing.T) {
			p := shaped(t, "gated", "t-halt")
			id := interfaces.NewID(tester, "gated", pidFileOf(p.Arguments))
			stopAtEnd(t, tester, id.String())
			letGo := holdStorage(t)
			since := now()
			launched := make(chan error, 1)
			go func() {
				_, err := as(t, tester).Launch(minute(t), p)
				launched <- err
			}()
			eventually(t, 10*time.Second, "podman has been started", func() bool {
				return engineOf(t, id.Unit()) != ""
			})
			time.Sleep(300 * time.Millisecond) // it waits for its storage
			run(t, "systemctl", command, "--no-block", id.Unit())
			eventually(t, 10*time.Second, "podman is gone", func() bool {
				return engineOf(t, id.Unit()) == ""
			})
			letGo()
			var failed *interfaces.LaunchFailedError
			if err := <-launched; !errors.As(err, &failed) {
				t.Errorf("launch: %v, want LaunchFailed", err)
			}
			if got := len(entriesSince(t, since, "UNIT="+id.Unit(), "MESSAGE_ID="+unitStarting)); got != 1 {
				t.Errorf("it was started %d times", got)
			}
			// A start that was killed has failed, to systemd; one that was stopped has not.
			if state := show(t, id.Unit(), "ActiveState"); state != "inactive" && state != "failed" {
				t.Errorf("the unit is %s", state)
			}
		})
	}
}

// engineOf returns the number of podman in a unit, "" if it is not there.
func engineOf(t *testing.T, unit string) string {
	t.Helper()
	group := show(t, unit, "ControlGroup")
	processes, err := os.ReadFile("/sys/fs/cgroup" + group + "/cgroup.procs")
	if err != nil || group == "" {
		return "" // there is no unit yet, or not any more
	}
	for _, pid := range strings.Fields(string(processes)) {
		name, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended
		if string(name) == "podman\n" {
			return pid
		}
	}
	return ""
}

// holdStorage takes the locks of podman's storage, so that podman waits, until the
// function that it returns is called.
func holdStorage(t *testing.T) (letGo func()) {
	t.Helper()
	locks, err := filepath.Glob("/var/lib/containers/storage/*/*.lock")
	if err != nil || len(locks) == 0 {
		t.Fatalf("podman's locks: %v, %v", locks, err)
	}
	var files []*os.File
	for _, path := range locks {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &lock); err != nil {
			t.Fatalf("lock %s: %v", path, err)
		}
	}
	letGo = sync.OnceFunc(func() {
		for _, f := range files {
			f.Close()
		}
	})
	t.Cleanup(letGo)
	return letGo
}
