//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// rootwrapConf is Neutron's (etc/rootwrap.conf), with the directories in kolla's
// order.
const rootwrapConf = `[DEFAULT]
filters_path=/etc/neutron/rootwrap.d
exec_dirs=/sbin,/usr/sbin,/bin,/usr/bin,/usr/local/bin,/usr/local/sbin,/etc/neutron/kill_scripts
`

// rootwrapFilters are Neutron's filters (etc/neutron/rootwrap.d/rootwrap.filters) for the programs
// that the shims replace.
const rootwrapFilters = `[Filters]
ip: IpFilter, ip, root
ip_exec: IpNetnsExecFilter, ip, root
haproxy: RegExpFilter, haproxy, root, haproxy, -f, .*
haproxy_env: EnvFilter, env, root, PROCESS_TAG=, haproxy, -f, .*
dnsmasq: CommandFilter, dnsmasq, root
dnsmasq_env: EnvFilter, env, root, PROCESS_TAG=, dnsmasq
radvd: CommandFilter, radvd, root
radvd_env: EnvFilter, env, root, PROCESS_TAG=, radvd
keepalived: CommandFilter, keepalived, root
keepalived_env: EnvFilter, env, root, PROCESS_TAG=, keepalived
conntrackd: CommandFilter, conntrackd, root
conntrackd_env: EnvFilter, env, root, PROCESS_TAG=, conntrackd
`

// sudoers is kolla's (docker/neutron/neutron-base/neutron_sudoers). sudo cleans the
// environment by itself.
const sudoers = "neutron ALL = (root) NOPASSWD: /usr/local/bin/neutron-rootwrap /etc/neutron/rootwrap.conf *\n"

// unprivileged is an agent as kolla's: a user without capabilities, whose commands go
// through sudo and rootwrap, and so its privileged daemons. sudo needs SETUID and
// SETGID, and forbids no-new-privileges. (podman's --user would hand the added
// capabilities to the user itself.)
func unprivileged() privileges {
	return privileges{
		options: []string{
			"--cap-drop=all", "--cap-add=SYS_ADMIN,NET_ADMIN,DAC_OVERRIDE,SETUID,SETGID",
			"--volume=/usr/libexec/sudo:/usr/libexec/sudo:ro", // its libraries
		},
		become:     []string{"/usr/bin/setpriv", fmt.Sprintf("--reuid=%d", neutronUser), fmt.Sprintf("--regid=%d", neutronUser), "--clear-groups"},
		conf:       "[privsep]\ncapabilities = CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_OVERRIDE\n",
		rootHelper: "sudo neutron-rootwrap /etc/neutron/rootwrap.conf",
	}
}

// addRootwrap puts sudo's and rootwrap's settings, and the user neutron, into an
// agent's image.
func addRootwrap(t testing.TB, root string) {
	t.Helper()
	for _, dir := range []string{"/etc/neutron/rootwrap.d", "/usr/local/bin"} {
		makeDirectory(t, root+dir)
	}
	// The program neutron-rootwrap is the same under another name.
	run(t, "cp", "/usr/bin/oslo-rootwrap", root+"/usr/local/bin/neutron-rootwrap")
	write(t, root+"/etc/neutron/rootwrap.conf", rootwrapConf)
	write(t, root+"/etc/neutron/rootwrap.d/rootwrap.filters", rootwrapFilters)
	write(t, root+"/etc/sudoers.d/neutron", sudoers)
	addUser(t, root+"/etc")
}

// addUser adds the user neutron to a copy of /etc.
func addUser(t testing.TB, etc string) {
	t.Helper()
	for name, line := range map[string]string{
		"passwd": "neutron:x:%[1]d:%[1]d::/var/lib/neutron:/usr/sbin/nologin\n",
		"group":  "neutron:x:%[1]d:\n",
		"shadow": "neutron:!:%[1]d::::::\n", // sudo asks whether it has expired
	} {
		text, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(etc, name), string(text)+fmt.Sprintf(line, neutronUser))
	}
}

// ownState gives the state directory to the agent's user until the test ends.
func ownState(t testing.TB) {
	t.Helper()
	makeDirectory(t, neutronDirectory)
	run(t, "chown", "-R", fmt.Sprintf("%d:%d", neutronUser, neutronUser), neutronDirectory)
	t.Cleanup(func() { run(t, "chown", "-R", "root:root", neutronDirectory) })
}

// kollaImage has the image of the sidecars be like kolla's until the test ends. It
// knows the user neutron, since radvd and haproxy go on as the agent's user, and it
// names that user, and a first process, as its own.
func kollaImage(t testing.TB) {
	t.Helper()
	const before = "localhost/before:1"
	etc := t.TempDir()
	addUser(t, etc)
	run(t, "podman", "create", "--name=kolla-like", "--network=none", image, "/bin/true")
	for _, name := range []string{"passwd", "group"} {
		run(t, "podman", "cp", filepath.Join(etc, name), "kolla-like:/etc/"+name)
	}
	run(t, "podman", "tag", image, before)
	run(t, "podman", "commit", "-q", "--change=USER neutron", `--change=ENTRYPOINT ["dumb-init", "--single-child", "--"]`, "kolla-like", image)
	run(t, "podman", "rm", "kolla-like")
	t.Cleanup(func() {
		run(t, "podman", "tag", before, image)
		run(t, "podman", "untag", before, before)
	})
}

// TestNeutronBehindRootwrap runs an agent that is not root in its container: Neutron's
// commands reach the shims through sudo and rootwrap, which clean the environment, and
// its kill scripts through a privileged daemon that these have started.
func TestNeutronBehindRootwrap(t *testing.T) {
	begin(t)
	kollaImage(t)
	ownState(t)
	t.Run("neutron-dhcp", func(t *testing.T) {
		a := startNeutron(t, "neutron-dhcp", unprivileged())
		stopAllAtEnd(t, a.identity)
		n := newDHCPNetwork("192.0.2.10")
		first := a.dhcp(t, "enable", n)
		id := a.isSidecar(t, first.processState, n.ID)
		wire := n.plug(t, first.Peer)
		serves := func(address string) {
			t.Helper()
			eventually(t, 20*time.Second, "the machine gets "+address, func() bool { return wire.lease(t) == address })
		}
		serves("192.0.2.10")
		n.Machines[0].Address = "192.0.2.20"
		a.dhcp(t, "reload_allocations", n)
		serves("192.0.2.20")
		if again := a.dhcp(t, "restart", n); again.PID == first.PID {
			t.Errorf("after restart %+v, it was %+v", again, first)
		}
		if got := a.dhcp(t, "disable", n); got.Active {
			t.Errorf("after disable: %+v", got)
		}
		gone(t, a.identity, id)
	})
	t.Run("neutron-l3", func(t *testing.T) {
		a := startNeutron(t, "neutron-l3", unprivileged())
		stopAllAtEnd(t, a.identity)
		router := inNamespace(t, "qrouter-")
		all := a.router(t, router)
		started := a.processes(t, all)
		for _, s := range routerSteps {
			if got := a.do(t, s.manager, s.options(router, s.stop)); got.Active {
				t.Errorf("%s after %s: %+v", s.manager, s.stop, got)
			}
		}
		for id := range started {
			gone(t, a.identity, id)
		}
	})
}
