package service

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/systemd"
)

// TestSandboxIsOutsideTheAgentsLimits: payloads that use up the agent's tasks or memory would make
// delete-namespace fail, and the namespace would stay without a unit that counts it.
func TestSandboxIsOutsideTheAgentsLimits(t *testing.T) {
	t.Parallel()
	c := &Core{}
	all := c.sandboxProperties("neutron-dhcp", "qdhcp-1")
	i := slices.IndexFunc(all, func(p systemd.Property) bool { return p.Name == "Slice" })
	if i < 0 {
		t.Fatal("it has no slice")
	}
	if d := cmp.Diff(systemd.String("Slice", "sidecar.slice").Value.Value(), all[i].Value.Value()); d != "" {
		t.Error(d)
	}
}
