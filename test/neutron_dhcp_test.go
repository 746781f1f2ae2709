//go:build testhost

package test

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

// dhcpNetwork is a network as Neutron's server describes it to a DHCP agent, with
// one machine.
type dhcpNetwork struct {
	ID       string        `json:"id"`
	Subnet   string        `json:"subnet"`
	Server   string        `json:"server"`
	Machines []dhcpMachine `json:"machines"`
}

type dhcpMachine struct {
	ID      string `json:"id"`
	MAC     string `json:"mac"`
	Address string `json:"address"`
}

// dhcpState is what the DHCP driver says after a step.
type dhcpState struct {
	processState
	Peer string // the other end of the device in the network's namespace
}

func newDHCPNetwork(address string) *dhcpNetwork {
	machine := dhcpMachine{ID: uuid(), MAC: machineMAC, Address: address}
	return &dhcpNetwork{ID: uuid(), Subnet: uuid(), Server: "192.0.2.2", Machines: []dhcpMachine{machine}}
}

// dhcp takes a network one step further in the life of Neutron's DHCP driver.
func (a *neutronAgent) dhcp(t testing.TB, step string, n *dhcpNetwork) dhcpState {
	t.Helper()
	result, err := a.try("dhcp", arguments{"step": step, "network": n})
	if err != nil {
		t.Fatalf("DHCP driver, %s: %v", step, err)
	}
	var state dhcpState
	if err := json.Unmarshal(result, &state); err != nil {
		t.Fatalf("DHCP driver, %s: %v", step, err)
	}
	return state
}

// plug makes a machine on the network that Neutron has set up.
func (n *dhcpNetwork) plug(t testing.TB, peer string) *network {
	t.Helper()
	machine := "m-" + n.ID[:8]
	namespace(t, machine)
	run(t, "ip", "link", "set", peer, "address", machineMAC, "netns", machine, "name", "eth0")
	run(t, "ip", "-n", machine, "link", "set", "eth0", "up")
	return &network{id: n.ID, namespace: "qdhcp-" + n.ID, machine: machine}
}

// TestNeutronDHCPDriver takes a network through the life of Neutron's DHCP driver,
// in which its agent is killed and started again.
func TestNeutronDHCPDriver(t *testing.T) {
	begin(t)
	a := startNeutron(t, "neutron-dhcp", confined())
	stopAllAtEnd(t, a.identity)
	n := newDHCPNetwork("192.0.2.10")
	first := a.dhcp(t, "enable", n)
	id := a.isSidecar(t, first.processState, n.ID)
	wire := n.plug(t, first.Peer)
	serves := func(address string) {
		t.Helper()
		eventually(t, 20*time.Second, "the machine gets "+address, func() bool { return wire.lease(t) == address })
	}
	serves("192.0.2.10")

	n.Machines[0].Address = "192.0.2.20"
	if got := a.dhcp(t, "reload_allocations", n); got != first {
		t.Errorf("after reload_allocations %+v, it was %+v", got, first)
	}
	serves("192.0.2.20")

	second := a.dhcp(t, "restart", n)
	if now := a.isSidecar(t, second.processState, n.ID); now != id || second.PID == first.PID {
		t.Errorf("after restart %+v with ID %s, it was %+v with ID %s", second, now, first, id)
	}
	serves("192.0.2.20")

	a.kill(t)
	serves("192.0.2.20")
	a.start(t)
	n.Machines[0].Address = "192.0.2.30"
	if got := a.dhcp(t, "reload_allocations", n); got != second {
		t.Errorf("the next agent has %+v, the last one had %+v", got, second)
	}
	a.isSidecar(t, second.processState, n.ID)
	serves("192.0.2.30")

	if got := a.dhcp(t, "disable", n); got.Active {
		t.Errorf("after disable: %+v", got)
	}
	gone(t, a.identity, id)
	namespaceGone(t, wire.namespace)
}

// namespaceGone holds a namespace that Neutron has deleted to be gone on the host.
func namespaceGone(t testing.TB, name string) {
	t.Helper()
	if _, err := os.Lstat("/run/netns/" + name); !os.IsNotExist(err) {
		t.Errorf("Neutron has deleted %s, and the host has it still: %v", name, err)
	}
}
