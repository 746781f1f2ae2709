//go:build testhost

package ansible

import (
	"strings"
	"testing"
)

// An agent as edpm-ansible has it: all privileges, the engine's socket, and scripts of the host
// that take the places of programs.
const (
	quadlet = "/etc/containers/systemd/edpm_neutron_dhcp_agent.container"
	wrapper = "/var/lib/neutron/dhcp_agent_dnsmasq_wrapper"
	kills   = "/var/lib/neutron/kill_scripts"
	before  = `[Unit]
Description=An agent

[Container]
ContainerName=neutron_dhcp_agent
Image=localhost/neutron-sidecars:1
Network=host
User=root
PodmanArgs=--privileged --log-driver=journald
PodmanArgs=--pid=host
PodmanArgs=--cgroupns=host
Volume=/run/podman/podman.sock:/run/podman/podman.sock
Volume=/run/netns:/run/netns:shared
Volume=/var/lib/neutron:/var/lib/neutron
`
	wrapped = "Volume=" + wrapper + ":/usr/local/bin/dnsmasq:ro\nVolume=" + kills + ":/etc/neutron/kill_scripts:ro\n"
	shimmed = `Volume=/usr/libexec/sidecar/sidecar-shim:/usr/libexec/sidecar/sidecar-shim:ro
Volume=/usr/libexec/sidecar/sidecar-shim:/usr/local/bin/dnsmasq:ro
Volume=/usr/libexec/sidecar/kill-scripts:/etc/neutron/kill_scripts:ro
Volume=/run/sidecar/agents/tester:/run/sidecar:ro
`
	sleeps = "PodmanArgs=--stop-signal=SIGKILL\nExec=/usr/bin/sleep 3600\n"
)

func testMigrate(t *testing.T, f *fleet) {
	n := f.nodes[0] // podman 4.3 knows no quadlets
	n.run(t, "sh", "-c", `mkdir -p /run/podman /run/netns `+kills+` && touch /run/podman/podman.sock &&
		for f in `+wrapper+` `+kills+`/dnsmasq-kill; do printf '#!/bin/sh\nexec nsenter -t 1 -m podman run ...\n' >$f; chmod 755 $f; done`)
	n.run(t, "chmod", "755", kills)
	n.startAgent(t, before+wrapped+sleeps)
	everything := []string{
		"--limit=" + n.name,
		`--extra-vars={"sidecar_migrate_wrappers": true, "sidecar_migrate_engine_sockets": true, "sidecar_migrate_privileges": true, "sidecar_migrate_restart_agents": true}`,
	}

	t.Log("nothing is taken away unless told")
	if p := f.mustPlay(t, "migrate", "--limit="+n.name); p.changes()[n.name] != "0" {
		t.Errorf("without being told, it has changed something:\n%s", p.output)
	}
	t.Log("wrappers that the agent still uses stay, and so does all else")
	f.mustFail(t, "the quadlet "+quadlet+" mounts it", "migrate", everything...)
	if n.run(t, "cat", quadlet) != strings.TrimSpace(before+wrapped+sleeps) || !n.has(t, wrapper) {
		t.Error("a refused migration has changed something")
	}
	n.run(t, "sh", "-c", "printf '%s' '"+before+shimmed+sleeps+"' >"+quadlet)
	f.mustFail(t, "it is mounted in the container of process", "migrate", everything...)

	t.Log("so does everything if a line is not understood")
	n.run(t, "sh", "-c", "printf '%s' '"+strings.Replace(before, "PodmanArgs=--privileged", "PodmanArgs = --privileged", 1)+"' >"+quadlet)
	f.mustFail(t, "change this line by hand: PodmanArgs = --privileged", "migrate", everything...)

	t.Log("the agent has its shims: the rest goes")
	n.startAgent(t, before+shimmed+sleeps)
	p := f.mustPlay(t, "migrate", append(everything, "--check", "--diff")...)
	if !strings.Contains(p.output, "-PodmanArgs=--privileged --log-driver=journald") || !n.has(t, wrapper) {
		t.Errorf("check mode:\n%s", p.output)
	}
	f.mustPlay(t, "migrate", everything...)
	n.checkAgent(t, false)
	if n.has(t, wrapper) || n.has(t, kills) {
		t.Error("the wrappers are here still")
	}
	// The agent has only the profile probe: that it is refused shows that its shim reaches the service.
	if out, code := n.try(t, "podman", "exec", "neutron_dhcp_agent", "/usr/local/bin/dnsmasq", "--no-hosts"); code == 0 || !strings.Contains(out, "profile") {
		t.Errorf("the shim in the agent's container: exit code %d, %s", code, out)
	}
	if p := f.mustPlay(t, "migrate", everything...); p.changes()[n.name] != "0" {
		t.Errorf("a second migration has changed something:\n%s", p.output)
	}

	t.Log("and comes back")
	rollback := []string{"--limit=" + n.name, `--extra-vars={"sidecar_migrate_rollback": true, "sidecar_migrate_restart_agents": true}`}
	f.mustPlay(t, "migrate", rollback...)
	n.checkAgent(t, true)
	if n.run(t, "cat", quadlet) != strings.TrimSpace(before+shimmed+sleeps) || !n.has(t, wrapper) || n.run(t, "stat", "-c%a", kills, kills+"/dnsmasq-kill") != "755\n755" {
		t.Error("the rollback is not complete")
	}
	if n.has(t, "/var/lib/sidecar-migration") {
		t.Error("the backup is left")
	}
	if p := f.mustPlay(t, "migrate", rollback...); p.changes()[n.name] != "0" {
		t.Errorf("a second rollback has changed something:\n%s", p.output)
	}
	n.run(t, "systemctl", "stop", "edpm_neutron_dhcp_agent")
}

func (n *node) startAgent(t *testing.T, text string) {
	t.Helper()
	n.run(t, "sh", "-c", "mkdir -p /etc/containers/systemd && printf '%s' '"+text+"' >"+quadlet+" && systemctl daemon-reload && systemctl restart edpm_neutron_dhcp_agent")
}

// checkAgent looks at what the agent's container has.
func (n *node) checkAgent(t *testing.T, privileged bool) {
	t.Helper()
	out := n.run(t, "podman", "inspect", "--format={{.HostConfig.Privileged}} {{range .Mounts}}{{.Source}} {{end}}", "neutron_dhcp_agent")
	if strings.HasPrefix(out, "true") != privileged || strings.Contains(out, "podman.sock") != privileged {
		t.Errorf("the agent's container: %s", out)
	}
}
