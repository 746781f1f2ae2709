package service

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

const dhcpSlice = "sidecar-neutron-dhcp.slice"

// set returns what was set of the agent's slice since the last call.
func (h *fakeHost) set(before *int) []string {
	all := h.units.Properties(dhcpSlice)
	var got []string
	for _, p := range all[*before:] {
		got = append(got, p.Name+"="+systemd.Format(p))
	}
	*before = len(all)
	return got
}

// withLines makes the policy of a host whose agent neutron-dhcp has these lines more.
func withLines(t *testing.T, lines string) *policy.Set {
	t.Helper()
	agents := installed(t, "policy/examples/agents.d")
	path := filepath.Join(agents, "agents.d", "neutron-dhcp.toml")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(string(text)+lines), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load(installed(t, "policy/profiles.d"), agents)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestLifecycleLimitsOfAnAgent: they are set once, before a launch or at a reload, and only what
// was set is taken away.
func TestLifecycleLimitsOfAnAgent(t *testing.T) {
	t.Parallel()
	h, before := newFakeHost(t), 0
	h.core.DropIns = t.TempDir()
	h.launched(t)
	diff(t, "an agent without limits", []string(nil), h.set(&before))
	h.core.SetPolicy(withLines(t, "[limits]\nmemory-max = \"1G\"\ncpu-max = \"50%\"\n"))
	h.launched(t)
	diff(t, "a launch", []string{"MemoryMax=1073741824", "CPUQuotaPerSecUSec=500ms"}, h.set(&before))
	h.core.LimitAgents(t.Context())
	h.launched(t)
	diff(t, "once more", []string(nil), h.set(&before))
	dropIns := filepath.Join(h.core.DropIns, dhcpSlice+".d")
	if err := os.Mkdir(dropIns, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"50-MemoryMax.conf", "50-CPUQuota.conf"} {
		if err := os.WriteFile(filepath.Join(dropIns, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h.core.SetPolicy(withLines(t, "[limits]\ntasks-max = 7\n"))
	h.core.LimitAgents(t.Context())
	diff(t, "a reload", []string{"MemoryMax=infinity", "TasksMax=7", "CPUQuotaPerSecUSec=infinity"}, h.set(&before))
}

// TestLifecycleLimitsThatCannotBeSet: nothing runs without its limits, and the next launch tries
// again.
func TestLifecycleLimitsThatCannotBeSet(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.core.SetPolicy(withLines(t, "[limits]\ntasks-max = 7\n"))
	broken := errors.New("systemd: a scripted failure")
	h.units.Before = func(operation, _ string) error {
		if operation == "SetProperties" {
			return broken
		}
		return nil
	}
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1")); !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("%v, want ErrHostFailure", err)
	}
	diff(t, "starts", 0, h.units.Starts(dnsmasqID("net-1").Unit()))
	broken = nil
	h.launched(t)
	diff(t, "properties", 1, len(h.units.Properties(dhcpSlice)))
}
