//go:build testhost

package test

import "testing"

func newDnsmasq(t *testing.T) kind {
	t.Helper()
	n := bareNetwork(t)
	return kind{
		agent: neutron, profile: "dnsmasq", namespace: n.namespace, processes: 1,
		pidFiles: []string{n.file("pid")}, arguments: n.arguments(),
		capabilities: []string{"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"},
	}
}

// TestProfileDnsmasq shows the life that all kinds share; TestLaunch… and
// TestSignal… show what dnsmasq does.
func TestProfileDnsmasq(t *testing.T) {
	begin(t)
	newDnsmasq(t).lives(t)
}
