//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// managed is a process under Neutron's ProcessManager.
type managed struct {
	service   string // empty: default-service
	uuid      string
	namespace string
	pidFile   string // empty: where Neutron looks by default
	pidsPath  string // of the directory instead
	argv      []string
	reloads   bool // Neutron sends it a HUP
	byItself  bool // Neutron has a manager of its own for it, which starts it at once
}

// manage has the agent make the process's manager, if its Neutron knows such one.
func (m *managed) manage(t *testing.T, a *neutronAgent) {
	t.Helper()
	if !m.byItself {
		a.do(t, "manage", m.options())
		return
	}
	conntrackd := step{manager: "conntrackd"}
	if started := a.do(t, "manage_conntrackd", conntrackd.options(m, "spawn")); started == (processState{}) {
		t.Skip("this Neutron has no conntrackd")
	}
}

// options are the options of a ProcessManager.
func (m *managed) options() arguments {
	options := arguments{
		"name": m.uuid, "uuid": m.uuid, "namespace": m.namespace, "argv": m.argv,
		"run_as_root": true,
	}
	for name, value := range map[string]string{"service": m.service, "pid_file": m.pidFile, "pids_path": m.pidsPath} {
		if value != "" {
			options[name] = value
		}
	}
	return options
}

// TestNeutronProcessManager takes each kind of process through its life with
// Neutron's own ProcessManager and ProcessMonitor.
func TestNeutronProcessManager(t *testing.T) {
	begin(t)
	for identity, kinds := range map[string]map[string]func(testing.TB) *managed{
		"neutron-dhcp": {"dnsmasq": managedDnsmasq, "haproxy": managedHaproxy("qdhcp-")},
		"neutron-l3":   {"keepalived": managedKeepalived, "radvd": managedRadvd, "conntrackd": managedConntrackd},
	} {
		t.Run(identity, func(t *testing.T) {
			a := startNeutron(t, identity, usual())
			for kind, make := range kinds {
				t.Run(kind, func(t *testing.T) { a.life(t, make(t), killScript) })
				t.Run(kind+" without a kill script", func(t *testing.T) { a.life(t, make(t), "/nowhere") })
			}
		})
	}
}

// life starts, reloads, loses and stops a process.
func (a *neutronAgent) life(t *testing.T, m *managed, killScripts string) {
	stopAllAtEnd(t, a.identity)
	named := arguments{"name": m.uuid}
	a.do(t, "kill_scripts", arguments{"path": killScripts})
	m.manage(t, a)
	first := a.do(t, "enable", arguments{"name": m.uuid, "ensure_active": true})
	id := a.isSidecar(t, first, m.uuid)
	if m.reloads {
		workers := children(t, first.PID)
		a.do(t, "reload", named)
		eventually(t, 10*time.Second, "it has reloaded", func() bool { return m.reloaded(t, first.PID, workers) })
		eventually(t, 10*time.Second, "after HUP it is what it was", func() bool { return a.do(t, "state", named) == first })
		a.isSidecar(t, first, m.uuid)
	}
	if again := a.do(t, "enable", named); again != first {
		t.Errorf("enabled again: %+v, it was %+v", again, first)
	}

	a.do(t, "watch", named)
	t.Cleanup(func() { a.do(t, "unwatch", named) })
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The pid file is right, and so Neutron sees it, a moment before the launch is over.
	second := a.do(t, "respawned", arguments{"name": m.uuid, "pid": first.PID})
	eventually(t, 10*time.Second, "it is ready", func() bool {
		return a.sidecarsWith(t, m.uuid)[0].Runtime.State == interfaces.StateReady
	})
	if now := a.isSidecar(t, second, m.uuid); now != id {
		t.Errorf("the monitor started %s in the place of %s", now, id)
	}
	a.do(t, "unwatch", named)

	a.do(t, "disable", named)
	gone(t, a.identity, id)
	if left := a.do(t, "state", named); left.Active {
		t.Errorf("active after it was disabled: %+v", left)
	}
}

// reloaded reports whether a process has heeded its HUP, as far as that shows: haproxy
// executes itself, and all its workers are others then. In between it has no command
// line, and Neutron would start it again.
func (m *managed) reloaded(t testing.TB, pid int, workers []string) bool {
	if m.service != "haproxy" {
		return true
	}
	now := children(t, pid)
	return len(now) > 0 && !slices.ContainsFunc(now, func(worker string) bool { return slices.Contains(workers, worker) })
}

// children returns the numbers of a process's children (proc_pid_task_children(5)).
func children(t testing.TB, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// isSidecar holds what Neutron says about a process to what the service says: the
// agent has one sidecar whose command line has this text, it is ready, and it is
// the process that Neutron takes for its own. It returns the sidecar's ID.
func (a *neutronAgent) isSidecar(t testing.TB, s processState, text string) string {
	t.Helper()
	found := a.sidecarsWith(t, text)
	if !s.Active || len(found) != 1 {
		t.Fatalf("Neutron says %+v, the service has %d sidecars: %+v", s, len(found), found)
	}
	r := found[0].Runtime
	if r.State != interfaces.StateReady || r.ProcessID == nil || int(*r.ProcessID) != s.PID {
		t.Fatalf("Neutron's process is %d, the sidecar is %+v", s.PID, r)
	}
	return found[0].ID
}

// sidecarsWith returns the agent's sidecars with a text in their arguments.
func (a *neutronAgent) sidecarsWith(t testing.TB, text string) []interfaces.Sidecar {
	t.Helper()
	all, err := as(t, a.identity).List(minute(t), interfaces.ListParameters{})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s interfaces.Sidecar) bool {
		return !strings.Contains(strings.Join(s.Context.Arguments, " "), text)
	})
}

func managedDnsmasq(t testing.TB) *managed {
	n := bareNetwork(t)
	argv := append([]string{"dnsmasq"}, n.arguments()...)
	for i, argument := range argv {
		if strings.HasPrefix(argument, "--pid-file=") {
			argv[i] = "--pid-file={pid}"
		}
	}
	return &managed{service: "dnsmasq", uuid: n.id, namespace: n.namespace, pidFile: n.file("pid"), argv: argv, reloads: true}
}

// managedHaproxy returns what makes a metadata proxy in a namespace of this kind.
func managedHaproxy(prefix string) func(testing.TB) *managed {
	return func(t testing.TB) *managed {
		m := inNamespace(t, prefix)
		m.service, m.reloads = "haproxy", true
		conf := m.file(t, "ns-metadata-proxy", ".conf", "global\n    pidfile "+neutronDirectory+"/external/pids/"+m.uuid+
			".pid.haproxy\n    daemon\ndefaults\n    mode http\n    timeout connect 3s\n    timeout client 3s\n    timeout server 3s\n"+
			"listen listener\n    bind 0.0.0.0:80\n    server metadata "+neutronDirectory+"/metadata_proxy\n")
		m.argv = []string{"haproxy", "-f", conf}
		return m
	}
}

func managedKeepalived(t testing.TB) *managed {
	m := inNamespace(t, "qrouter-")
	m.service, m.reloads, m.pidsPath = "keepalived", true, neutronDirectory+"/ha_confs"
	conf := m.file(t, "ha_confs/"+m.uuid, "/keepalived.conf", "vrrp_instance VR_1 {\n    state BACKUP\n    interface "+routerDevice+
		"\n    virtual_router_id 1\n    priority 50\n    nopreempt\n    virtual_ipaddress {\n        192.0.2.1/24\n    }\n}\n")
	m.argv = []string{"keepalived", "-P", "-f", conf, "-p", "{pid}", "-r", "{pid}-vrrp"}
	return m
}

func managedRadvd(t testing.TB) *managed {
	m := inNamespace(t, "qrouter-")
	m.service, m.reloads = "radvd", true
	conf := m.file(t, "ra", ".radvd.conf", "interface "+routerDevice+" {\n    AdvSendAdvert on;\n    prefix 2001:db8::/64 {\n    };\n};\n")
	m.argv = []string{"radvd", "-C", conf, "-p", "{pid}", "-m", "syslog"}
	return m
}

func managedConntrackd(t testing.TB) *managed {
	m := inNamespace(t, "qrouter-")
	m.byItself = true
	return m
}

// routerDevice is the device of a router in the tests, with routerAddress.
const (
	routerDevice  = "ha-0"
	routerAddress = "169.254.192.5"
)

// inNamespace makes a router's namespace, or another, with a device whose other
// end is elsewhere.
func inNamespace(t testing.TB, prefix string) *managed {
	t.Helper()
	id := uuid()
	m := &managed{uuid: id, namespace: prefix + id}
	elsewhere := "e-" + id[:8]
	namespace(t, m.namespace)
	namespace(t, elsewhere)
	run(t, "ip", "-n", m.namespace, "link", "add", routerDevice, "type", "veth", "peer", "name", "peer", "netns", elsewhere)
	run(t, "ip", "-n", m.namespace, "addr", "add", routerAddress+"/18", "dev", routerDevice)
	run(t, "ip", "-n", m.namespace, "link", "set", "lo", "up")
	run(t, "ip", "-n", m.namespace, "link", "set", routerDevice, "up")
	run(t, "ip", "-n", elsewhere, "link", "set", "peer", "up")
	return m
}

// file writes a configuration file of the process where Neutron has it.
func (m *managed) file(t testing.TB, dir, suffix, text string) string {
	t.Helper()
	path := neutronDirectory + "/" + dir + "/" + m.uuid + suffix
	if strings.HasPrefix(suffix, "/") {
		path = neutronDirectory + "/" + dir + suffix
	}
	makeDirectory(t, path[:strings.LastIndex(path, "/")])
	write(t, path, text)
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}
