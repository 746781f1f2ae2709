//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// keepalivedConfiguration is what Neutron writes (neutron/agent/linux/keepalived.py),
// with adverts each second instead of every other, and one address that changes.
const keepalivedConfiguration = `global_defs {
    notification_email_from neutron@openstack.local
    router_id neutron
}
vrrp_instance VR_7 {
    state BACKUP
    interface ` + haInterface + `
    virtual_router_id 7
    priority 50
    garp_master_delay 60
    nopreempt
    advert_int 1
    track_interface {
        ` + haInterface + `
    }
    virtual_ipaddress {
        169.254.0.7/24 dev ` + haInterface + `
    }
    virtual_ipaddress_excluded {
        %s dev ` + routerInterface + ` no_track
        fe80::f816:3eff:fe00:1/64 dev ` + routerInterface + ` scope link no_track
    }
    virtual_routes {
        198.51.100.0/24 via 192.0.2.254 dev ` + routerInterface + ` no_track protocol static
    }
}`

func newKeepalived(t *testing.T) (k kind, configuration string, r router) {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	home := place(t, "ha_confs")
	dir := place(t, "ha_confs/"+r.id)
	pid := home + "/" + r.id + ".pid.keepalived"
	configuration = dir + "/keepalived.conf"
	write(t, configuration, fmt.Sprintf(keepalivedConfiguration, "192.0.2.1/24"))
	return kind{
		agent: agent, profile: "keepalived", namespace: r.namespace, processes: 2,
		pidFiles:     []string{pid, pid + "-vrrp"},
		arguments:    []string{"-P", "-f", configuration, "-p", pid, "-r", pid + "-vrrp", "-D"},
		capabilities: []string{"NET_ADMIN", "NET_RAW"},
	}, configuration, r
}

// hasAddress reports whether an interface of the router has an address now.
func (r router) hasAddress(t *testing.T, device, address string) bool {
	t.Helper()
	return strings.Contains(run(t, "ip", "-n", r.namespace, "-o", "address", "show", "dev", device), " "+address+" ")
}

func TestProfileKeepalived(t *testing.T) {
	begin(t)
	k, configuration, r := newKeepalived(t)
	s := k.launch(t)
	eventually(t, 10*time.Second, "it is master: the addresses are there", func() bool {
		return r.hasAddress(t, haInterface, "169.254.0.7/24") && r.hasAddress(t, routerInterface, "192.0.2.1/24")
	})
	if got := run(t, "ip", "-n", r.namespace, "route", "show", "198.51.100.0/24"); !strings.Contains(got, "192.0.2.254") {
		t.Errorf("route %q", got)
	}
	write(t, configuration, fmt.Sprintf(keepalivedConfiguration, "192.0.2.2/24"))
	k.reloads(t, s)
	eventually(t, 5*time.Second, "the other address is there", func() bool {
		return r.hasAddress(t, routerInterface, "192.0.2.2/24") && !r.hasAddress(t, routerInterface, "192.0.2.1/24")
	})
	k.ends(t, s, syscall.SIGTERM)
	if r.hasAddress(t, haInterface, "169.254.0.7/24") {
		t.Error("it has left its address behind")
	}
	k.comesBack(t)
}

// TestProfileKeepalivedEndsWithItsChild: a new child would have a number that no
// pid file of the agent has.
func TestProfileKeepalivedEndsWithItsChild(t *testing.T) {
	begin(t)
	k, _, _ := newKeepalived(t)
	s := k.launch(t)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		child, err := readPID(k.pidFiles[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(child, signal); err != nil {
			t.Fatal(err)
		}
		gone(t, k.agent, s.ID)
		s = k.launch(t)
	}
}

// TestFieldKeepalivedHealthCheck: with ha_vrrp_health_check_interval Neutron has keepalived
// run a script. It cannot here, and would count as a success: nothing is started.
func TestFieldKeepalivedHealthCheck(t *testing.T) {
	begin(t)
	k, configuration, _ := newKeepalived(t)
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Dir(configuration) + "/ha_check_script_7.sh"
	write(t, script, "#!/bin/bash -eu\nip a | grep 169.254.0.7 || exit 0\nping -c 1 -w 1 192.0.2.254 1>/dev/null || exit 1\n")
	write(t, configuration, strings.Replace(string(text), "vrrp_instance VR_7 {", "vrrp_script ha_health_check_7 {\n    script \""+script+"\"\n    interval 5\n    fall 2\n    rise 2\n}\nvrrp_instance VR_7 {\n    track_script {\n        ha_health_check_7\n    }", 1))
	id := checkFailure(t, k.agent, k.parameters(), 125, configuration+":5: vrrp_script: scripts cannot be run here")
	stopAllAtEnd(t, k.agent)
	if found := processesWith(configuration); len(found) > 0 {
		t.Errorf("processes %v run for %s", found, id)
	}
}
