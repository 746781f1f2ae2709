//go:build testhost

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// value is a value as busctl --json prints it: its type, and itself.
type value struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// properties are a dictionary of such values.
type properties map[string]value

// text returns a property that is a string, or nothing.
func (p properties) text(name string) string {
	var s string
	_ = json.Unmarshal(p[name].Data, &s)
	return s
}

// number returns a property that is a number, or 0.
func (p properties) number(name string) int64 {
	var n int64
	_ = json.Unmarshal(p[name].Data, &n)
	return n
}

// busctl runs busctl call and unpacks its answer into out. The error is what busctl
// says. The two dashes come first, or it takes arguments of sidecars for its own.
func busctl(ctx context.Context, out []any, path, iface, member string, arguments ...string) error {
	argv := append([]string{
		"--json=short", "--timeout=300", "--", "call", interfaces.BusName, path, iface, member,
	}, arguments...)
	cmd := exec.CommandContext(ctx, "busctl", argv...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if len(out) == 0 {
		return nil
	}
	var reply struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return fmt.Errorf("%w in %s", err, text)
	}
	if len(reply.Data) != len(out) {
		return fmt.Errorf("%d values, want %d", len(reply.Data), len(out))
	}
	for i := range out {
		err = errors.Join(err, json.Unmarshal(reply.Data[i], out[i]))
	}
	return err
}

// manager calls a method of the manager.
func manager(ctx context.Context, out []any, member string, arguments ...string) error {
	return busctl(ctx, out, interfaces.ManagerPath, interfaces.ManagerInterface, member, arguments...)
}

// asBusctl writes a launch as busctl takes it: sasa{sv}.
func asBusctl(agent string, p interfaces.LaunchParameters, options ...string) []string {
	argv := append([]string{"sasa{sv}", p.Profile, fmt.Sprint(len(p.Arguments))}, p.Arguments...)
	options = append(options, "agent", "s", agent)
	if p.NetworkNamespace != nil {
		options = append(options, "network-namespace", "s", *p.NetworkNamespace)
	}
	argv = append(argv, fmt.Sprint(len(options)/3))
	return append(argv, options...)
}

// TestDBusLaunch has everything that the manager does, by busctl as root.
func TestDBusLaunch(t *testing.T) {
	begin(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.30")
	p := n.parameters()
	id := interfaces.NewID(neutron, "dnsmasq", n.file("pid"))

	var explained properties
	if err := manager(minute(t), []any{&explained}, "Explain", asBusctl(neutron, p)...); err != nil {
		t.Fatal(err)
	}
	if explained.text("Id") != id.String() || explained.text("Unit") != id.Unit() {
		t.Errorf("explained %s in %s", explained.text("Id"), explained.text("Unit"))
	}

	var path string
	var launched, standIn properties
	if err := manager(minute(t), []any{&path, &launched, &standIn}, "Launch", asBusctl(neutron, p)...); err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, neutron, id.String())
	if path != id.Path() || launched.text("State") != "ready" || len(standIn) != 0 {
		t.Errorf("launched %s, %s, %v", path, launched.text("State"), standIn)
	}
	s := get(t, neutron, id.String())
	checkRunning(t, s, p)
	if launched.number("ProcessId") != *s.Runtime.ProcessID {
		t.Errorf("process %d, varlink says %d", launched.number("ProcessId"), *s.Runtime.ProcessID)
	}
	awaitMainLoop(t, int(*s.Runtime.ProcessID))
	if got := n.lease(t); got != "192.0.2.30" {
		t.Errorf("lease %s", got)
	}
	checkListed(t, id, launched)

	if err := manager(minute(t), nil, "Signal", "ss", id.String(), "SIGHUP"); err != nil {
		t.Error(err)
	}
	var exit properties
	if err := manager(minute(t), []any{&exit}, "Stop", "sa{sv}", id.String(), "1", "timeout-usec", "t", "2000000"); err != nil {
		t.Error(err)
	}
	gone(t, neutron, id.String())
	err := manager(minute(t), nil, "Stop", "sa{sv}", id.String(), "0")
	if err == nil || !strings.Contains(err.Error(), "no such sidecar") {
		t.Errorf("stopped twice: %v", err)
	}
}

// TestDBusLaunchInTheCallersNamespace names none: the bus tells the number of the
// caller's process, and that is in the host's own.
func TestDBusLaunchInTheCallersNamespace(t *testing.T) {
	begin(t)
	p := shaped(t, "probe", "")
	p.NetworkNamespace = nil
	var path string
	var launched, standIn properties
	if err := manager(minute(t), []any{&path, &launched, &standIn}, "Launch", asBusctl(onHost, p)...); err != nil {
		t.Fatal(err)
	}
	id := launched.text("Id")
	stopAtEnd(t, onHost, id)
	if _, ok := launched["NetworkNamespace"]; ok {
		t.Errorf("launched %v", launched)
	}
	checkRunning(t, get(t, onHost, id), p)
	err := manager(minute(t), nil, "Launch", asBusctl(tester, p)...)
	if err == nil || !strings.Contains(err.Error(), "network namespace of the host not allowed") {
		t.Errorf("an agent without host-network: %v", err)
	}
}

// checkListed holds List, the object's properties and the object manager to say the
// same.
func checkListed(t *testing.T, id interfaces.ID, want properties) {
	t.Helper()
	var rows [][]json.RawMessage
	if err := manager(minute(t), []any{&rows}, "List", "a{sv}", "1", "id", "s", id.String()); err != nil {
		t.Fatal(err)
	}
	var listed, all properties
	var objects map[string]map[string]properties
	err := errors.Join(
		json.Unmarshal(rows[0][1], &listed),
		busctl(minute(t), []any{&all}, id.Path(), "org.freedesktop.DBus.Properties", "GetAll", "s", interfaces.SidecarInterface),
		busctl(minute(t), []any{&objects}, interfaces.ManagerPath, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]properties{
		"List": listed, "GetAll": all, "GetManagedObjects": objects[id.Path()][interfaces.SidecarInterface],
	} {
		for _, usage := range []string{"CpuUSec", "MemoryBytes", "Tasks"} { // of this moment
			delete(got, usage)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-launched +it):\n%s", what, d)
		}
	}
	if tree := run(t, "busctl", "tree", "--list", interfaces.BusName); !strings.Contains(tree, id.Path()) {
		t.Errorf("busctl tree shows\n%s", tree)
	}
	if shown := run(t, "busctl", "introspect", interfaces.BusName, id.Path()); !strings.Contains(shown, `"ready"`) {
		t.Errorf("busctl introspect shows\n%s", shown)
	}
}

func TestDBusRefusals(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	p := n.parameters()
	hostile := p
	hostile.Arguments = append([]string{"--dhcp-script=/bin/sh"}, p.Arguments...)
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"argument":  {asBusctl(neutron, hostile), "not allowed"},
		"agent":     {asBusctl("nobody", p), "no such agent"},
		"option":    {asBusctl(neutron, p, "privileged", "b", "true"), "there are: agent, network-namespace, process-tag, mode, timeout-usec"},
		"type":      {asBusctl(neutron, p, "timeout-usec", "s", "5s"), "is of type s, must be t"},
		"namespace": {asBusctl(tester, p), "not allowed"},
	} {
		err := manager(minute(t), nil, "Launch", c.argv...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestDBusActivation stops the daemon: who calls waits until it is back.
func TestDBusActivation(t *testing.T) {
	begin(t)
	run(t, "systemctl", "stop", "sidecard")
	before := time.Now()
	if err := manager(minute(t), nil, "ListProfiles", "a{sv}", "0"); err != nil {
		t.Error(err)
	}
	t.Logf("answered after %v", time.Since(before))
	pid, err := daemonPID()
	if err != nil {
		t.Fatal(err)
	}
	expectedDaemon = pid
}
