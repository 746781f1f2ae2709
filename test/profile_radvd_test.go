//go:build testhost

package test

import (
	"testing"
)

// radvdConfiguration is what Neutron writes (neutron/agent/linux/ra.py).
const radvdConfiguration = `interface ` + routerInterface + `
{
   AdvSendAdvert on;
   MinRtrAdvInterval 3;
   MaxRtrAdvInterval 4;
   AdvLinkMTU 1450;
   RDNSS  2001:db8::53  {};
   prefix 2001:db8:1::/64
   {
        AdvOnLink on;
        AdvAutonomous on;
   };
   route fe80::a9fe:a9fe/128 {
   };
};
`

func newRadvd(t *testing.T) kind {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	configuration := place(t, "ra") + "/" + r.id + ".radvd.conf"
	pid := place(t, "external/pids") + "/" + r.id + ".pid.radvd"
	write(t, configuration, radvdConfiguration)
	return kind{
		agent: agent, profile: "radvd", namespace: r.namespace, processes: 2,
		pidFiles:     []string{pid},
		arguments:    []string{"-C", configuration, "-p", pid, "-m", "syslog"},
		capabilities: []string{"NET_RAW"},
	}
}

func TestProfileRadvd(t *testing.T) {
	begin(t)
	for name, user := range map[string][]string{"": nil, "asked to change its user": {"-u", "nobody"}} {
		t.Run(name, func(t *testing.T) {
			k := newRadvd(t)
			k.ignored = user
			if user == nil {
				k.lives(t)
				return
			}
			s := k.launch(t)
			k.reloads(t, s)
			k.stops(t, s)
		})
	}
}
