//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestLifecycleBootOrderOfStops: when all are stopped at once, the one that comes after
// another is gone before the other is touched.
func TestLifecycleBootOrderOfStops(t *testing.T) {
	begin(t)
	namespace(t, "t-order")
	first := start(t, tester, probe(t, "t-order"))
	elsewhere := namespaceWith(t, "t-elsewhere")
	last := start(t, tester, shaped(t, "trailing", "t-order")) // takes 5 s to stop
	order := strings.Fields(show(t, last.Runtime.Unit, "After"))
	if !slices.Contains(order, first.Runtime.Unit) || slices.Contains(order, elsewhere.Runtime.Unit) {
		t.Errorf("it is ordered after %q", order)
	}
	run(t, "systemctl", "stop", "--no-block", last.Runtime.Unit)
	run(t, "systemctl", "stop", "--no-block", first.Runtime.Unit)
	eventually(t, 2*time.Second, "the last one is being stopped", func() bool {
		return show(t, last.Runtime.Unit, "ActiveState") == "deactivating"
	})
	if state := show(t, first.Runtime.Unit, "ActiveState"); state != "active" {
		t.Errorf("the first is %s already", state)
	}
	gone(t, tester, first.ID)
	if state := get(t, tester, last.ID).Runtime.State; state != interfaces.StateFailed { // it was killed
		t.Errorf("the last one is %s when the first is gone", state)
	}
}

// namespaceWith makes a network namespace with a sidecar in it.
func namespaceWith(t *testing.T, name string) *interfaces.Sidecar {
	t.Helper()
	namespace(t, name)
	return start(t, tester, probe(t, name))
}

// TestLifecycleBootShutdownOfMany: a host with 200 sidecars goes down in time. A stop has
// 5 s, and what cleans up after it 13 s, however many stop at once. podman's removals queue,
// and the units of those whose turn does not come in time are failed; sidecar-clean.service
// removes the containers later.
func TestLifecycleBootShutdownOfMany(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		many := 200
		if testing.Short() {
			many = 40
		}
		namespace(t, "t-many")
		stopAllAtEnd(t, tester)
		launches := make([]interfaces.LaunchParameters, many)
		for i := range launches {
			launches[i] = probe(t, "t-many")
		}
		began := time.Now()
		if err := atOnce(8, launches, func(p interfaces.LaunchParameters) error {
			_, err := as(t, tester).Launch(minute(t), p)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d launches took %v", many, time.Since(began).Round(time.Millisecond))
		began = time.Now()
		run(t, "systemctl", "stop", "sidecar.slice")
		took := time.Since(began)
		t.Logf("their stop took %v", took.Round(time.Millisecond))
		if limit := time.Minute; took > slowness*limit {
			t.Errorf("their stop took %v", took)
		}
		for _, p := range launches {
			if left := processesWith(pidFileOf(p.Arguments)); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		}
		units, err := sidecarUnits()
		if err != nil || len(units) > 0 && usedEngine != podmanEngine {
			t.Errorf("left: %q, %v", units, err)
		}
		t.Logf("%d units are failed", len(units))
		for _, unit := range units {
			if state := show(t, unit, "ActiveState"); state != "failed" && state != "inactive" { // the service keeps 50
				t.Errorf("%s is %s", unit, state)
			}
		}
	})
}

// TestLifecycleBootRecords: a record is there as long as the sidecar runs, and whoever ends it.
func TestLifecycleBootRecords(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-record")
		const name = "returning"
		text := profile(image, takePIDFile+untilTerm+writePID+idle, "30s", "no") + "boot = \"restore\"\n"
		for dir, content := range map[string]string{"profiles.d/" + name: text, "agents.d/" + tester: strings.Replace(agentFiles[tester], `"probe"`, `"probe", "`+name+`"`, 1)} {
			if err := writePolicy(filepath.Dir(dir), filepath.Base(dir), content); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			run(t, "rm", "-f", policyFile("profiles.d", name))
			if err := writePolicy("agents.d", tester, agentFiles[tester]); err != nil {
				t.Error(err)
			}
			reload(t)
		})
		reload(t)
		recordOf := func(id string) string { return fmt.Sprintf("/var/lib/sidecar/%s.json", id) }
		for how, end := range map[string]func(s *interfaces.Sidecar){
			"Stop": func(s *interfaces.Sidecar) {
				if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
					t.Error(err)
				}
			},
			"Signal": func(s *interfaces.Sidecar) {
				if err := as(t, tester).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGTERM"}); err != nil {
					t.Error(err)
				}
			},
			"kill":      func(s *interfaces.Sidecar) { run(t, "kill", "-KILL", fmt.Sprint(*s.Runtime.ProcessID)) },
			"systemctl": func(s *interfaces.Sidecar) { run(t, "systemctl", "stop", s.Runtime.Unit) },
			"while the daemon is away": func(s *interfaces.Sidecar) {
				run(t, "systemctl", "stop", "sidecard")
				run(t, "systemctl", "stop", s.Runtime.Unit)
				startDaemon(t)
			},
		} {
			s := start(t, tester, shaped(t, name, "t-record"))
			if info, err := os.Stat(recordOf(s.ID)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: the record while it runs: %v, %v", how, info, err)
			}
			killDaemon(t)
			awaitDaemon(t)
			checkRunning(t, get(t, tester, s.ID), probeAgain(s))
			end(s)
			eventually(t, 5*time.Second, how+": the record is gone", func() bool {
				_, err := os.Stat(recordOf(s.ID))
				return os.IsNotExist(err)
			})
		}
	})
}
