//go:build testhost

package test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

const installedInterface = "/usr/share/varlink/interfaces/io.tripleo.Sidecar.varlink"

// varlinkctl runs systemd's own varlink client.
func varlinkctl(t *testing.T, argv ...string) string {
	t.Helper()
	return run(t, append([]string{"varlinkctl"}, argv...)...)
}

func needVarlinkctl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("varlinkctl"); err != nil {
		t.Skip("this release's systemd has no varlinkctl (it came with 255)")
	}
}

func TestVarlinkctlKnowsTheInterface(t *testing.T) {
	begin(t)
	needVarlinkctl(t)
	info := varlinkctl(t, "info", socketOf(neutron))
	for _, want := range []string{"Vendor: TripleO", "Product: sidecar", "io.tripleo.Sidecar", "org.varlink.service"} {
		if !strings.Contains(info, want) {
			t.Errorf("info has no %q:\n%s", want, info)
		}
	}
	// Both print the interface in varlinkctl's own layout.
	served := varlinkctl(t, "introspect", socketOf(neutron), interfaces.Name)
	installed := varlinkctl(t, "validate-idl", installedInterface)
	if diff := cmp.Diff(installed, served); diff != "" || !strings.Contains(served, "method Launch") {
		t.Errorf("the interface (-installed +served):\n%s", diff)
	}
}

func TestVarlinkctlCalls(t *testing.T) {
	begin(t)
	needVarlinkctl(t)
	n := bareNetwork(t)
	p := n.parameters()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var launched interfaces.LaunchReply
	decode(t, varlinkctl(t, "call", "--json=short", socketOf(neutron), interfaces.Name+".Launch", string(text)), &launched)
	stopAtEnd(t, neutron, launched.Sidecar.ID)
	checkRunning(t, &launched.Sidecar, p)
	awaitMainLoop(t, int(*launched.Sidecar.Runtime.ProcessID))

	var listed []interfaces.ListReply
	decode(t, varlinkctl(t, "call", "--more", "--collect", "--json=short", socketOf(neutron), interfaces.Name+".List", "{}"), &listed)
	if diff := cmp.Diff([]interfaces.ListReply{{Sidecar: launched.Sidecar}}, listed); diff != "" {
		t.Errorf("listed (-launched +listed):\n%s", diff)
	}
	var profiles []interfaces.ListProfilesReply
	decode(t, varlinkctl(t, "call", "--more", "--collect", "--json=short", socketOf(neutron), interfaces.Name+".ListProfiles", "{}"), &profiles)
	if len(profiles) != 2 {
		t.Errorf("%d profiles, want dnsmasq and haproxy", len(profiles))
	}
	stop := `{"id":"` + launched.Sidecar.ID + `"}`
	if got := varlinkctl(t, "call", "--json=short", socketOf(neutron), interfaces.Name+".Stop", stop); got != `{"exitCode":0}` {
		t.Errorf("stop answers %s", got)
	}
}

// TestMonitorWithVarlinkctl shows that systemd's own client takes the stream.
func TestMonitorWithVarlinkctl(t *testing.T) {
	begin(t)
	needVarlinkctl(t)
	namespace(t, "t-watch")
	s := start(t, tester, probe(t, "t-watch"))
	text, err := output("timeout", "8", "varlinkctl", "call", "--more", "--json=short", socketOf(tester), interfaces.Name+".Monitor", "{}")
	// It prints a JSON text sequence, RFC 7464. 124 is timeout's own exit code.
	lines := strings.Split(strings.ReplaceAll(text, "\x1e", ""), "\n")
	if len(lines) != 2 || err == nil || !strings.Contains(err.Error(), "124") {
		t.Fatalf("%v, %q", err, text)
	}
	var first interfaces.MonitorReply
	decode(t, lines[0], &first)
	if first.Event.Kind != interfaces.EventPresent || *first.Event.ID != s.ID || lines[1] != `{"event":{"kind":"synchronized"}}` {
		t.Errorf("varlinkctl has %q", lines)
	}
	if out, err := output("varlinkctl", "call", "--json=short", socketOf(tester), interfaces.Name+".Monitor", "{}"); err == nil || !strings.Contains(err.Error(), "ExpectedMore") {
		t.Errorf("without the flag: %s, %v", out, err)
	}
}

func TestVarlinkctlShowsErrors(t *testing.T) {
	begin(t)
	needVarlinkctl(t)
	cmd := exec.CommandContext(minute(t), "varlinkctl", "call", "--json=short", socketOf(neutron), interfaces.Name+".Launch",
		`{"profile":"dnsmasq","networkNamespace":"qdhcp-1","arguments":["--dhcp-script=/bin/sh"]}`)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || !strings.Contains(stderr.String(), interfaces.Name+".ArgumentNotAllowed") {
		t.Errorf("%v, %q", err, stderr.String())
	}
	var refusal interfaces.ArgumentNotAllowedError
	decode(t, strings.TrimPrefix(string(out), "\x1e"), &refusal)
	if refusal.Index != 0 || refusal.Argument != "--dhcp-script=/bin/sh" || refusal.Reason == "" {
		t.Errorf("parameters %+v", refusal)
	}
	out, err = exec.CommandContext(minute(t), "varlinkctl", "call", "--graceful="+interfaces.Name+".NoSuchSidecar",
		socketOf(neutron), interfaces.Name+".Stop", `{"id":"neutron-dhcp.dnsmasq.0123456789ab"}`).Output()
	if err != nil || !strings.Contains(string(out), "neutron-dhcp.dnsmasq.0123456789ab") {
		t.Errorf("an expected error: %q, %v", out, err)
	}
}

// decode reads JSON, which varlinkctl begins with a record separator when it
// could be one of several texts (RFC 7464).
func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "\x1e")), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}
