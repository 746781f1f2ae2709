//go:build testhost

package ansible

import (
	"strings"
	"testing"
)

// As kolla-ansible writes it.
const kollaServices = `---
neutron_services:
  neutron-server:
    image: "{{ neutron_server_image_full }}"
    privileged: false
  neutron-dhcp-agent:
    image: "{{ neutron_dhcp_agent_image_full }}"
    privileged: true
    pid_mode: "{{ 'host' if neutron_agents_wrappers | bool else '' }}"
neutron_other: 1
`

const kollaWanted = `neutron_services:
    neutron-server:
        image: '{{ neutron_server_image_full }}'
        privileged: false
    neutron-dhcp-agent:
        image: '{{ neutron_dhcp_agent_image_full }}'
        privileged: false
        pid_mode: '{{ ''host'' if neutron_agents_wrappers | bool else '''' }}'
        cap_add:
        - SYS_ADMIN
        - NET_ADMIN
        security_opt:
        - apparmor=unconfined
        - label=disable
`

func TestKollaPrivileges(t *testing.T) {
	f := &fleet{directory: t.TempDir()}
	f.write(t, "ansible.cfg", "[defaults]\n")
	f.write(t, "defaults.yml", kollaServices)
	f.write(t, "vars.yml", "sidecar_kolla_defaults: "+f.directory+"/defaults.yml\nsidecar_kolla_output: "+f.directory+
		"/output.yml\nsidecar_kolla_agents: [neutron-dhcp-agent]\n")
	f.mustPlay(t, "kolla_privileges")
	if got := read(t, f.directory+"/output.yml"); !strings.HasSuffix(strings.TrimSpace(got), strings.TrimSpace(kollaWanted)) {
		t.Errorf("got\n%s\nwant at its end\n%s", got, kollaWanted)
	}
	if p := f.mustPlay(t, "kolla_privileges"); p.changes()["localhost"] != "0" {
		t.Errorf("a second time:\n%s", p.output)
	}
}
