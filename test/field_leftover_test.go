//go:build testhost

package test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestFieldPausedContainer: a container that somebody has paused cannot be removed by
// podman once its processes are killed. The next launch works all the same, and what is
// left is noted.
func TestFieldPausedContainer(t *testing.T) {
	begin(t)
	namespace(t, "t-paused")
	p := probe(t, "t-paused")
	s := start(t, tester, p)
	container := strings.TrimSuffix(s.Runtime.Unit, ".service")
	t.Cleanup(func() { forgetContainers(t) })
	for range 2 {
		run(t, "podman", "pause", container)
		wantFrozen(t, s.ID)
		again, err := as(t, tester).Launch(minute(t), p)
		if err != nil {
			t.Fatalf("launch in the place of a paused one: %v", err)
		}
		if again.ID != s.ID || again.Runtime.State != interfaces.StateReady {
			t.Errorf("launched %s, which is %s", again.ID, again.Runtime.State)
		}
	}
	switch left := run(t, "podman", "ps", "-a", "--format={{.Names}}"); strings.Count(left, container+"-left-") {
	case 0:
		t.Skip("this podman can remove a paused container: nothing is set aside")
	case 2:
	default:
		t.Errorf("containers %q, want two that were set aside", left)
	}
	notes, err := os.ReadDir("/run/sidecar/leftovers")
	if err != nil || len(notes) != 2 {
		t.Errorf("noted are %v, %v", notes, err)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Error(err)
	}
}

// forgetContainers has podman take the host for booted, as it does when its file
// libpod/alive is missing: it can remove every container then.
func forgetContainers(t *testing.T) {
	run(t, "systemctl", "stop", "sidecar-clean.service")
	run(t, "rm", "-f", "/run/libpod/alive", "/run/libpod/alive.lck")
	// Its first call after that makes all locks again, and can find one taken.
	eventually(t, 10*time.Second, "podman removes every container", func() bool {
		return exec.Command("podman", "rm", "-f", "-a").Run() == nil
	})
	run(t, "systemctl", "start", "sidecar-clean.service")
}

// wantFrozen looks at a sidecar of tester that does nothing any more.
func wantFrozen(t *testing.T, id string) {
	t.Helper()
	if now := get(t, tester, id); !now.Runtime.Frozen || now.Runtime.State != interfaces.StateReady {
		t.Errorf("a frozen sidecar is %s, frozen: %t", now.Runtime.State, now.Runtime.Frozen)
	}
	if table := run(t, "sidecarctl", "list"); !strings.Contains(table, "ready, frozen") {
		t.Errorf("sidecarctl list does not say that it is frozen:\n%s", table)
	}
}

// TestFieldFrozenUnit: a unit that somebody has frozen is thawed by a stop, and by a launch
// in its place.
func TestFieldFrozenUnit(t *testing.T) {
	begin(t)
	namespace(t, "t-frozen")
	p := probe(t, "t-frozen")
	s := start(t, tester, p)
	if s.Runtime.Frozen {
		t.Error("it is called frozen before it is")
	}
	run(t, "systemctl", "freeze", s.Runtime.Unit)
	wantFrozen(t, s.ID)
	again, err := as(t, tester).Launch(minute(t), p)
	if err != nil {
		t.Fatalf("launch in the place of a frozen one: %v", err)
	}
	run(t, "systemctl", "freeze", again.Runtime.Unit)
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("stop of a frozen one: %v", err)
	}
	if err := becomesClean(); err != nil {
		t.Errorf("left after the stop: %v", err)
	}
}
