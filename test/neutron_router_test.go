//go:build testhost

package test

import (
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// step is one of Neutron's managers for a router's processes, and how it starts and
// stops one.
type step struct{ manager, start, stop string }

// routerSteps are the managers of the L3 agent.
var routerSteps = []step{
	{"keepalived", "spawn", "disable"},
	{"radvd", "enable", "disable"},
	{"metadata", "spawn", "destroy"},
	{"conntrackd", "spawn", "disable"},
}

// options are the options of a router's manager.
func (s step) options(m *managed, what string) arguments {
	options := arguments{"step": what, "uuid": m.uuid, "namespace": m.namespace}
	switch s.manager {
	case "keepalived", "radvd":
		options["device"] = routerDevice
	case "conntrackd":
		options["device"], options["address"] = routerDevice, routerAddress
	}
	return options
}

// TestNeutronRouter runs Neutron's managers of a router's processes, with the agent
// killed in between: the next one finds them all and starts nothing. Then all of them
// are killed: the monitor starts them again.
func TestNeutronRouter(t *testing.T) {
	begin(t)
	a := startNeutron(t, "neutron-l3", confined())
	stopAllAtEnd(t, a.identity)
	router := inNamespace(t, "qrouter-")
	all := a.router(t, router)
	before := a.processes(t, all)

	a.kill(t)
	a.start(t)
	if next := a.router(t, router); !maps.Equal(all, next) {
		t.Errorf("the next agent has %v, the last one had %v", next, all)
	}
	if after := a.processes(t, all); !maps.Equal(before, after) {
		t.Errorf("sidecars %v, before the agent was killed %v", after, before)
	}

	a.killAll(t, all)
	if again := a.processes(t, a.router(t, router)); !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(again))) {
		t.Errorf("the monitor started %v in the place of %v", again, before)
	}
	for _, s := range routerSteps {
		if got := a.do(t, s.manager, s.options(router, s.stop)); got.Active {
			t.Errorf("%s after %s: %+v", s.manager, s.stop, got)
		}
	}
	for id := range before {
		gone(t, a.identity, id)
	}
}

// killAll kills what Neutron knows, and waits until its monitor has started it again.
func (a *neutronAgent) killAll(t testing.TB, known map[string]processState) {
	t.Helper()
	var pids []int
	for name, s := range known {
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", name, err)
		}
		pids = append(pids, s.PID)
	}
	a.do(t, "all_respawned", arguments{"pids": pids})
}

// router starts all that a router needs, and returns what Neutron says about it.
func (a *neutronAgent) router(t testing.TB, m *managed) map[string]processState {
	t.Helper()
	all := map[string]processState{}
	for _, s := range routerSteps {
		state := a.do(t, s.manager, s.options(m, s.start))
		if s.manager == "conntrackd" && state == (processState{}) {
			t.Log("this Neutron has no conntrackd")
			continue
		}
		all[s.manager] = state
	}
	return all
}

// processes returns the agent's sidecars and their invocations, and holds them to
// be the processes that Neutron knows.
func (a *neutronAgent) processes(t testing.TB, known map[string]processState) map[string]string {
	t.Helper()
	// The pid file is right, and so Neutron sees it, a moment before the launch is over.
	eventually(t, 10*time.Second, "all are ready", func() bool {
		return !slices.ContainsFunc(a.sidecarsWith(t, ""), func(s interfaces.Sidecar) bool { return s.Runtime.State != interfaces.StateReady })
	})
	pids := map[int]bool{}
	for _, s := range known {
		pids[s.PID] = s.Active
	}
	found := map[string]string{}
	for _, s := range a.sidecarsWith(t, "") {
		if s.Runtime.ProcessID == nil || !pids[int(*s.Runtime.ProcessID)] {
			t.Errorf("Neutron does not know %+v", s)
		}
		found[s.ID] = show(t, s.Runtime.Unit, "InvocationID")
	}
	if len(found) != len(known) {
		t.Errorf("%d sidecars, Neutron has started %d: %v", len(found), len(known), known)
	}
	return found
}
