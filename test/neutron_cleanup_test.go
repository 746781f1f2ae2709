//go:build testhost

package test

import "testing"

// TestNeutronNetnsCleanup runs neutron-netns-cleanup on namespaces with live
// sidecars. It signals their raw processes: that is a stop, and nothing is repaired.
func TestNeutronNetnsCleanup(t *testing.T) {
	begin(t)
	t.Run("neutron-dhcp", func(t *testing.T) {
		a := startNeutron(t, "neutron-dhcp", usual())
		n := newDHCPNetwork("192.0.2.10")
		a.dhcp(t, "enable", n)
		a.clean(t, "qdhcp-"+n.ID, 1)
	})
	t.Run("neutron-l3", func(t *testing.T) {
		a := startNeutron(t, "neutron-l3", usual())
		router := inNamespace(t, "qrouter-")
		a.clean(t, router.namespace, len(a.router(t, router)))
	})
}

// clean cleans a namespace with so many sidecars.
func (a *neutronAgent) clean(t *testing.T, namespace string, total int) {
	stopAllAtEnd(t, a.identity)
	running := a.sidecarsWith(t, "")
	if len(running) != total {
		t.Fatalf("%d sidecars, want %d: %+v", len(running), total, running)
	}
	// It is run when an agent has ended, which would start them again.
	a.kill(t)
	a.start(t)
	a.do(t, "clean", nil)
	namespaceGone(t, namespace)
	for _, s := range running {
		gone(t, a.identity, s.ID)
	}
}
