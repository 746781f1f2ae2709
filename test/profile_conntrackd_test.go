//go:build testhost

package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// conntrackdConfiguration is what Neutron 26 writes (neutron/agent/linux/conntrackd.py).
const conntrackdConfiguration = `
General {
    HashSize 32768
    HashLimit 131072
    Syslog on
    LockFile %[1]s/conntrackd.lock
    UNIX {
        Path %[1]s/conntrackd.ctl
        Backlog 20
    }
    SocketBufferSize 262142
    SocketBufferSizeMaxGrown 655355
    Filter From Kernelspace {
        Protocol Accept {
            TCP
            SCTP
            DCCP
            UDP
            ICMP
            IPv6-ICMP
        }
        Address Ignore {
            IPv4_address 127.0.0.1
            IPv6_address ::1
            IPv4_address ` + haAddress + `
        }
    }
}
Sync {
    Mode FTFW {
    }
    Multicast Default {
        IPv4_address 225.0.0.50
        IPv4_interface ` + haAddress + `
        Group 3780
        Interface ` + haInterface + `
        SndSocketBuffer 1249280
        RcvSocketBuffer 1249280
        Checksum on
    }
}
`

func newConntrackd(t *testing.T) (kind, string) {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	dir := place(t, "ha_confs/"+r.id)
	write(t, dir+"/conntrackd.conf", fmt.Sprintf(conntrackdConfiguration, dir))
	return kind{
		agent: agent, profile: "conntrackd", namespace: r.namespace, processes: 1, deafToHUP: true,
		stale:        []string{dir + "/conntrackd.lock", dir + "/conntrackd.ctl"},
		arguments:    []string{"-d", "-C", dir + "/conntrackd.conf"},
		capabilities: []string{"NET_ADMIN"},
	}, dir
}

func TestProfileConntrackd(t *testing.T) {
	begin(t)
	k, dir := newConntrackd(t)
	s := k.launch(t)
	// The agent asks this when the command has returned, and wants one number.
	command := "conntrackd -d -C " + dir + "/conntrackd.conf"
	if got, want := run(t, "pgrep", "-f", command), strconv.FormatInt(*s.Runtime.ProcessID, 10); got != want {
		t.Errorf("pgrep -f finds %q, want %s", got, want)
	}
	// Calls like these come from the agent's container.
	if got := run(t, "conntrackd", "-C", dir+"/conntrackd.conf", "-s"); !strings.Contains(got, "cache internal") {
		t.Errorf("its statistics: %q", got)
	}
	run(t, "conntrackd", "-C", dir+"/conntrackd.conf", "-n")
	run(t, "conntrackd", "-C", dir+"/conntrackd.conf", "-k")
	gone(t, k.agent, s.ID)
	k.lives(t)
}

// TestProfileConntrackdFailsInTheForeground shows that what goes wrong before the
// program has left the foreground is told as what it is.
func TestProfileConntrackdFailsInTheForeground(t *testing.T) {
	begin(t)
	k, dir := newConntrackd(t)
	write(t, dir+"/conntrackd.conf", "General {\n nonsense\n}\n")
	id := checkFailure(t, k.agent, k.parameters(), 1, "syntax error")
	if r := get(t, k.agent, id).Runtime; r.State != interfaces.StateFailed {
		t.Errorf("listed as %s", r.State)
	}
}
