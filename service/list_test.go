package service

import (
	"sync/atomic"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestConcurrentListsOfOneAgentLeaveRoom shows that an agent that lists without
// pause keeps neither systemd busy nor another agent waiting.
func TestConcurrentListsOfOneAgentLeaveRoom(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1")); err != nil {
		t.Fatal(err)
	}
	var begun atomic.Int32
	hang := make(chan struct{})
	h.units.Before = func(operation, pattern string) error {
		if operation == "List" && pattern == unitsOf("neutron-dhcp") {
			begun.Add(1)
			<-hang
		}
		return nil
	}
	const callers = 20
	done := make(chan error, callers)
	for range callers {
		go func() {
			_, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
			done <- err
		}()
	}
	for h.core.lists.Waiting("neutron-dhcp") < callers-3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := h.core.listUnits(t.Context(), "neutron-l3", unitsOf("neutron-l3")); err != nil {
		t.Errorf("another agent: %v", err)
	}
	if n := begun.Load(); n > 3 {
		t.Errorf("%d lists of one agent at once, want at most 3", n)
	}
	close(hang)
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
