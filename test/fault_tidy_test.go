//go:build testhost

package test

import (
	"os"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestFaultContainerWithoutAUnit is what power loss leaves: a container in the engine's store,
// and neither a unit nor a note.
func TestFaultContainerWithoutAUnit(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-orphan")
		s := start(t, tester, probe(t, "t-orphan"))
		id := interfaces.NewID(tester, "probe", "/var/lib/tester/orphan")
		leaveContainer(t, id)
		run(t, "systemctl", "start", "sidecar-clean.service")
		eventually(t, 10*time.Second, "only the container of what runs is left", func() bool {
			all, err := containers()
			return err == nil && len(all) == 1
		})
		if now := get(t, tester, s.ID); *now.Runtime.InvocationID != *s.Runtime.InvocationID || now.Runtime.State != interfaces.StateReady {
			t.Errorf("what runs is %+v", now.Runtime)
		}
	})
}

// TestFaultBootFindsWhatPowerLossLeft: the service looks when it starts.
func TestFaultBootFindsWhatPowerLossLeft(t *testing.T) {
	begin(t)
	leaveContainer(t, interfaces.NewID(tester, "probe", "/var/lib/tester/orphan"))
	run(t, "systemctl", "stop", "sidecard")
	if err := os.RemoveAll("/run/sidecar/leftovers"); err != nil {
		t.Fatal(err)
	}
	startDaemon(t)
	eventually(t, 10*time.Second, "the container is removed", func() bool { return checkClean() == nil })
}
