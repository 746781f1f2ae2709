//go:build testhost

package test

import (
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func TestSignalHUPMakesDnsmasqReadItsHostsAgain(t *testing.T) {
	begin(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	s := start(t, neutron, n.parameters())
	if got := n.lease(t); got != "192.0.2.10" {
		t.Fatalf("the machine got %s", got)
	}
	n.assign(t, "192.0.2.20")
	if err := as(t, neutron).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGHUP"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the machine gets its new address", func() bool { return n.lease(t) == "192.0.2.20" })
	if now := get(t, neutron, s.ID); *now.Runtime.ProcessID != *s.Runtime.ProcessID || now.Runtime.Restarts != 0 {
		t.Errorf("process %d, %d restarts; it was %d", *now.Runtime.ProcessID, now.Runtime.Restarts, *s.Runtime.ProcessID)
	}
	checkRunning(t, s, n.parameters())
}

func TestSignalTERMAndKILLEndASidecar(t *testing.T) {
	begin(t)
	for _, signal := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(signal, func(t *testing.T) {
			n := bareNetwork(t)
			s := start(t, neutron, n.parameters())
			if err := as(t, neutron).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: signal}); err != nil {
				t.Fatal(err)
			}
			gone(t, neutron, s.ID)
			err := as(t, neutron).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: signal})
			if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
				t.Errorf("signalled when it is gone: %v", err)
			}
		})
	}
}

func TestSignalThatIsNotForSidecarsIsRefused(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	s := start(t, neutron, n.parameters())
	for _, signal := range []string{"SIGSTOP", "HUP", "1", "", "SIGHUP\n", "SIGRTMIN"} {
		err := as(t, neutron).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: signal})
		var invalid *interfaces.InvalidParameterError
		if !errors.As(err, &invalid) || invalid.Parameter != "signal" {
			t.Errorf("%q: %v, want that the signal is invalid", signal, err)
		}
	}
	checkRunning(t, get(t, neutron, s.ID), n.parameters())
}
