//go:build testhost

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/lsm"
)

// agentAppArmor returns the AppArmor profile of agents that enter namespaces: the example that
// comes with the package, where AppArmor is.
func agentAppArmor(t testing.TB) string {
	t.Helper()
	if !lsm.Host().AppArmor.On {
		return "unconfined"
	}
	run(t, "apparmor_parser", "-r", agentProfile)
	return "sidecar-agent"
}

const agentProfile = "/usr/share/doc/sidecar/examples/apparmor-agent"

// hidingAppArmor returns a profile like that, which does not let the service look.
func hidingAppArmor(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(agentProfile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "profile")
	write(t, file, strings.NewReplacer("ptrace (readby) peer=sidecard,", "", "sidecar-agent", "hiding-agent").Replace(string(text)))
	run(t, "apparmor_parser", "-r", file)
	return "hiding-agent"
}

// TestConfinementOfAgents calls from containers as agents have them, which reach their sockets
// under each of AppArmor and SELinux, as docs/hosts.md says. The caller's own network namespace is
// seen only if the container's profile lets sidecard look.
func TestConfinementOfAgents(t *testing.T) {
	begin(t)
	agents := confinedAgents(t)
	namespace(t, "t-agent")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "caller")
	run(t, "cp", self, program)
	for _, a := range agents {
		argv := []string{
			"podman", "run", "--rm", "--log-driver=none", "--network=ns:/run/netns/t-agent", "--env=" + callVariable,
			"--volume=" + filepath.Dir(socketOf(tester)) + ":/run/sidecar:ro", "--volume=" + program + ":/caller:ro,z",
			a.option, "localhost/neutron-sidecars:1", "/caller",
		}
		for _, named := range []bool{true, false} {
			a.call(t, named, argv)
		}
	}
}

// confinedAgent is a way to confine an agent's container.
type confinedAgent struct {
	option, label string
	refused       string // without a named namespace
}

// call launches from the agent's container, and stops what it has launched.
func (a confinedAgent) call(t *testing.T, named bool, argv []string) {
	t.Helper()
	p := probe(t, "t-agent")
	want := ""
	if !named {
		p.NetworkNamespace, want = nil, a.refused
	}
	got := callBy(t, foreignCall{Address: "/run/sidecar/io.tripleo.Sidecar", Parameters: p}, argv...)
	if want == "" && got.Error != "" || !strings.Contains(got.Error, want) {
		t.Errorf("%s, namespace named %t: error %q, want %q", a.option, named, got.Error, want)
	}
	if !strings.Contains(got.Label, a.label) {
		t.Errorf("%s: the agent's label is %q, want %s", a.option, got.Label, a.label)
	}
	if got.Sidecar != nil {
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: got.Sidecar.ID}); err != nil {
			t.Error(err)
		}
	}
}

// confinedAgents returns the ways that docs/hosts.md names for this host.
func confinedAgents(t *testing.T) []confinedAgent {
	t.Helper()
	switch host := lsm.Host(); {
	case host.AppArmor.On:
		return []confinedAgent{
			{option: "--tty=false", label: "containers-default"}, // podman's own profile
			{option: "--security-opt=apparmor=unconfined", label: "unconfined"},
			{option: "--privileged", label: "unconfined"}, // as kolla's and edpm's
			{option: "--security-opt=apparmor=" + agentAppArmor(t), label: "sidecar-agent"},
			{option: "--security-opt=apparmor=" + hidingAppArmor(t), label: "hiding-agent", refused: "permission denied"},
		}
	case host.SELinux.Enforcing:
		return []confinedAgent{
			{option: "--tty=false", label: ":container_t:"},
			{option: "--security-opt=label=level:" + levelOf(t, tester), label: ":container_t:" + levelOf(t, tester)},
			{option: "--security-opt=label=disable", label: ":spc_t:"},
			{option: "--privileged", label: ":spc_t:"},
		}
	default:
		lacking(t, "this host has neither AppArmor nor SELinux")
		return nil
	}
}
