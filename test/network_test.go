//go:build testhost

package test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// network is a Neutron network with a namespace for its DHCP server, and perhaps
// a machine plugged into it.
type network struct {
	id        string // a UUID
	namespace string
	machine   string // namespace of the machine
	directory string // of the agent's files for this network
}

const (
	machineMAC = "fa:16:3e:00:00:0a"
	serverCIDR = "192.0.2.2/24"
)

// newNetwork makes a network with a machine. All networks have the same subnet.
func newNetwork(t testing.TB) *network {
	t.Helper()
	n := bareNetwork(t)
	n.machine = "m-" + n.id[:8]
	namespace(t, n.machine)
	run(t, "ip", "-n", n.namespace, "link", "add", "tap0", "type", "veth", "peer", "name", "eth0", "address", machineMAC, "netns", n.machine)
	run(t, "ip", "-n", n.namespace, "addr", "add", serverCIDR, "dev", "tap0")
	run(t, "ip", "-n", n.namespace, "link", "set", "tap0", "up")
	run(t, "ip", "-n", n.namespace, "link", "set", "lo", "up")
	run(t, "ip", "-n", n.machine, "link", "set", "eth0", "up")
	return n
}

// bareNetwork makes a network without a machine.
func bareNetwork(t testing.TB) *network {
	t.Helper()
	id := uuid()
	n := &network{id: id, namespace: "qdhcp-" + id, directory: neutronDirectory + "/dhcp/" + id}
	namespace(t, n.namespace)
	if err := os.MkdirAll(n.directory, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(n.directory) })
	for _, name := range []string{"host", "addn_hosts", "opts", "leases"} {
		write(t, n.file(name), "")
	}
	return n
}

// namespace makes a network namespace. It may be gone by the end of the test.
func namespace(t testing.TB, name string) {
	t.Helper()
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() {
		if _, err := os.Lstat("/run/netns/" + name); err == nil {
			run(t, "ip", "netns", "delete", name)
		}
	})
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func (n *network) file(name string) string { return n.directory + "/" + name }

// assign writes the hosts file of the DHCP server: the machine gets this address.
func (n *network) assign(t testing.TB, address string) {
	t.Helper()
	write(t, n.file("host"), fmt.Sprintf("%s,host-x.openstacklocal,%s\n", machineMAC, address))
}

// arguments returns the arguments of dnsmasq that Neutron's own DHCP agent uses, in its order,
// with the empty one that stands for --no-resolv, and more at the end.
func (n *network) arguments(more ...string) []string {
	return append([]string{
		"--no-hosts", "", "--pid-file=" + n.file("pid"), "--dhcp-hostsfile=" + n.file("host"),
		"--addn-hosts=" + n.file("addn_hosts"), "--dhcp-optsfile=" + n.file("opts"),
		"--dhcp-leasefile=" + n.file("leases"), "--dhcp-match=set:ipxe,175", "--dhcp-userclass=set:ipxe6,iPXE",
		"--local-service", "--bind-dynamic",
		"--dhcp-range=set:subnet-" + n.id + ",192.0.2.0,static,255.255.255.0,86400s",
		"--dhcp-option-force=option:mtu,1500", "--dhcp-lease-max=256", "--conf-file=/dev/null", "--domain=openstacklocal",
	}, more...)
}

// parameters launch the network's DHCP server.
func (n *network) parameters(more ...string) interfaces.LaunchParameters {
	return interfaces.LaunchParameters{
		Profile: "dnsmasq", NetworkNamespace: &n.namespace, Arguments: n.arguments(more...),
		ProcessTag: new("dnsmasq-" + n.id),
	}
}

var leaseOf = regexp.MustCompile(`lease of (\S+) obtained`)

// lease asks for an address as any machine on the network does, and returns it.
func (n *network) lease(t testing.TB) string {
	t.Helper()
	script := `exec ip netns exec "$0" busybox udhcpc -f -q -n -t 20 -T 1 -i eth0 -s /bin/true 2>&1`
	text := run(t, "sh", "-c", script, n.machine)
	found := leaseOf.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no lease: %s", text)
	}
	return found[1]
}
