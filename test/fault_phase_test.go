//go:build testhost

package test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"tripleo.io/sidecar/interfaces"
)

// phases are those in which a launch of profile "gated" can be held, each with what holds it.
// In readiness the gate does.
func phases() map[string]func(*testing.T, interfaces.ID) (letGo func()) {
	all := map[string]func(*testing.T, interfaces.ID) func(){
		"preparation": holdPreparation,
		"readiness":   func(*testing.T, interfaces.ID) func() { return func() {} },
	}
	if usedEngine == podmanEngine { // nothing holds crun
		all["engine"] = func(t *testing.T, _ interfaces.ID) func() { return holdStorage(t) }
	}
	return all
}

// holdPreparation has a launch wait for the removal of an earlier container.
func holdPreparation(t *testing.T, id interfaces.ID) (letGo func()) {
	t.Helper()
	if err := os.MkdirAll("/run/sidecar/leftovers", 0o700); err != nil {
		t.Fatal(err)
	}
	lock := flock.New("/run/sidecar/leftovers/" + id.String())
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	return func() { _ = lock.Close() }
}

// awaitPhase waits until a unit's start is in a phase, and returns its sidecar-launch.
func awaitPhase(t *testing.T, id interfaces.ID, phase string) (launcher []int) {
	t.Helper()
	eventually(t, 15*time.Second, "the start is in the phase "+phase, func() bool {
		launcher = programIn(t, id.Unit(), "sidecar-launch")
		switch {
		case len(launcher) == 0:
			return false
		case phase == "engine":
			return len(programIn(t, id.Unit(), "podman")) > 0
		case phase == "readiness":
			return show(t, id.Unit(), "MainPID") != strconv.Itoa(launcher[0]) && len(programIn(t, id.Unit(), "sh")) > 0
		}
		return true
	})
	return launcher
}

// TestFaultLauncherKilled kills sidecar-launch in each phase. The call fails within its time,
// nothing is left, and the next launch works.
func TestFaultLauncherKilled(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-launcher")
		for phase, hold := range phases() {
			t.Run(phase, func(t *testing.T) {
				p := shaped(t, "gated", "t-launcher")
				p.TimeoutUSec = new(int64(20e6))
				id := idOf(tester, p)
				stopAtEnd(t, tester, id.String())
				letGo := hold(t, id)
				failed := make(chan error, 1)
				go func() {
					_, err := as(t, tester).Launch(minute(t), p)
					failed <- err
				}()
				for _, pid := range awaitPhase(t, id, phase) {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Error(err)
					}
				}
				letGo()
				// Without sidecar-launch nobody says READY=1: the unit's time-out ends the start.
				if err := <-failed; !errors.Is(err, interfaces.ErrLaunchFailed) && !errors.Is(err, interfaces.ErrNotReady) {
					t.Errorf("launch: %v", err)
				}
				wantNothingLeft(t, p)
				openGate(t, p)
				start(t, tester, p)
			})
		}
	})
}

// TestFaultDaemonKilledInEachPhase: the start goes on without the daemon, and the next daemon
// knows the sidecar.
func TestFaultDaemonKilledInEachPhase(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-daemon")
		for phase, hold := range phases() {
			t.Run(phase, func(t *testing.T) {
				p := shaped(t, "gated", "t-daemon")
				id := idOf(tester, p)
				letGo := hold(t, id)
				answered := make(chan error, 1)
				go func() {
					_, err := as(t, tester).Launch(minute(t), p)
					answered <- err
				}()
				awaitPhase(t, id, phase)
				killDaemon(t)
				if err := <-answered; err == nil {
					t.Error("the launch was answered")
				}
				awaitDaemon(t)
				stopAtEnd(t, tester, id.String())
				letGo()
				openGate(t, p)
				eventually(t, 15*time.Second, "the sidecar is ready", func() bool {
					return get(t, tester, id.String()).Runtime.State == interfaces.StateReady
				})
				checkRunning(t, get(t, tester, id.String()), p)
				if got := processesWith(pidFileOf(p.Arguments)); len(got) != 1 {
					t.Errorf("processes %v", got)
				}
			})
		}
	})
}

// programIn returns the processes of a program in a unit's control groups.
func programIn(t *testing.T, unit, program string) []int {
	t.Helper()
	group := show(t, unit, "ControlGroup")
	if group == "" {
		return nil
	}
	var found []int
	_ = filepath.WalkDir("/sys/fs/cgroup"+group, func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) != "cgroup.procs" {
			return nil
		}
		text, _ := os.ReadFile(path) // the group may have gone
		for _, word := range strings.Fields(string(text)) {
			name, _ := os.ReadFile("/proc/" + word + "/comm")
			if pid, err := strconv.Atoi(word); err == nil && strings.TrimSpace(string(name)) == program {
				found = append(found, pid)
			}
		}
		return nil
	})
	slices.Sort(found)
	return found
}
