//go:build testhost

package test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dibblerConfiguration is what Neutron writes (neutron/agent/linux/dibbler.py).
const dibblerConfiguration = `
# Config for dibbler-client.

# Use enterprise number based duid
duid-type duid-en 8888 0x8c0ed1a5f7464f7f8d7f0c2b5b5bd0f9

# 8 (Debug) is most verbose. 7 (Info) is usually the best option
log-level 8

# No automatic downlink address assignment
downlink-prefix-ifaces "none"

# Use script to notify l3_agent of assigned prefix
script "%s/notify.sh"

# Ask for prefix over the external gateway interface
iface "` + routerInterface + `" {
# Bind to generated LLA
bind-to-address fe80::1
# ask for address
    pd 1
}
`

func newDibbler(t *testing.T) (kind, string) {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	place(t, "pd")
	dir := place(t, "pd/"+r.id+":"+uuid()+":qr-0a1b2c3d-4e")
	write(t, dir+"/client.conf", fmt.Sprintf(dibblerConfiguration, dir))
	// The interface's address is usable once no other host has claimed it.
	eventually(t, 5*time.Second, "the address is not tentative", func() bool {
		return !strings.Contains(run(t, "ip", "-n", r.namespace, "-6", "address", "show", "dev", routerInterface), "tentative")
	})
	return kind{
		agent: agent, profile: "dibbler-client", namespace: r.namespace, processes: 1, deafToHUP: true,
		pidFiles:     []string{dir + "/client.pid"},
		arguments:    []string{"start", "-w", dir},
		capabilities: []string{"NET_BIND_SERVICE"},
	}, dir
}

func TestProfileDibblerClient(t *testing.T) {
	begin(t)
	k, dir := newDibbler(t)
	other := place(t, "pd/of-another-router")
	s := k.launch(t)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", *s.Runtime.ProcessID, other)); err == nil {
		t.Error("it sees another router's directory")
	}
	eventually(t, 5*time.Second, "it asks for a prefix", func() bool {
		log, _ := os.ReadFile(dir + "/client.log")
		return strings.Contains(string(log), "Sending SOLICIT")
	})
	k.ends(t, s, syscall.SIGTERM)
	k.ends(t, k.launch(t), syscall.SIGKILL)
}
