//go:build testhost

package ansible

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	agent = `
  tester:
    profiles: [probe]
    network-namespaces: ["t-*"]
    state-directories: [/var/lib/tester]
`
	probe = `
  probe:
    description: 'for "tests" \ and ünïcode 🦊'
    image: localhost/neutron-sidecars:1
    command:
      - /bin/sh
      - -c
      - 'for a; do f=${a#*=}; done; trap "exit 0" TERM; echo $$ >$f; while :; do sleep 3600 & wait; done'
      - payload
    instance: --pid-file
    ready: {pid-file: --pid-file, timeout: 60s}
    arguments: ["--pid-file={path:rw}"]
`
	agentFile   = "/etc/sidecar/agents.d/tester.toml"
	profileFile = "/etc/sidecar/profiles.d/probe.toml"
)

// variables are what the playbooks get in vars.yml.
func (f *fleet) variables(t *testing.T, version, agents, profiles string) {
	t.Helper()
	directory, err := filepath.Abs(filepath.Join(packages, version))
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "vars.yml", "sidecar_package_source: directory\nsidecar_package_directory: "+directory+
		"\nsidecar_shims: true\nsidecar_agents:"+agents+"\nsidecar_profiles:"+profiles+"\n")
}

// TestFleet goes through the life of an installation on three hosts. Each step needs the one before.
func TestFleet(t *testing.T) {
	f := bootFleet(t)
	f.variables(t, "0.0.1", agent, probe)
	for _, step := range []struct {
		name string
		test func(*testing.T, *fleet)
	}{
		{"Install", testInstall},
		{"Policy", testPolicy},
		{"Spool", testSpool},
		{"Upgrade", testUpgrade},
		{"Recycle", testRecycle},
		{"Migrate", testMigrate},
		{"Remove", testRemove},
		{"Repository", testRepository},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, f) }) {
			t.FailNow()
		}
	}
}

func testInstall(t *testing.T, f *fleet) {
	f.mustPlay(t, "host", "--check", "--diff")
	for _, n := range f.nodes {
		if n.has(t, "/usr/bin/sidecarctl") || n.has(t, "/etc/sidecar") || strings.Contains(n.run(t, "ls", "/var/cache"), "sidecar") {
			t.Errorf("%s: check mode has installed something", n.name)
		}
	}
	f.mustPlay(t, "host")
	for _, n := range f.nodes {
		n.checkVersion(t, "0.0.1")
		if !n.has(t, "/usr/libexec/sidecar/kill-scripts/dnsmasq-kill") {
			t.Errorf("%s: the shim's kill scripts are missing", n.name)
		}
		n.run(t, "ip", "netns", "add", "t-1")
		n.launch(t, "first")
	}
	f.checkUnchanged(t, "host")
	f.checkUnchanged(t, "host", "--check", "--diff")
}

// checkUnchanged runs a playbook that has nothing to do.
func (f *fleet) checkUnchanged(t *testing.T, playbook string, arguments ...string) {
	t.Helper()
	p := f.mustPlay(t, playbook, arguments...)
	for _, n := range f.nodes {
		if p.changes()[n.name] != "0" {
			t.Errorf("%s %v: %s: changed=%s, although everything is in place\n%s", playbook, arguments, n.name, p.changes()[n.name], p.output)
		}
	}
}

func testPolicy(t *testing.T, f *fleet) {
	n := f.nodes[0]
	before := n.run(t, "cat", profileFile)
	n.run(t, "cp", "/usr/share/sidecar/profiles.d/radvd.toml", "/etc/sidecar/profiles.d/own.toml") // an operator's

	t.Log("check mode shows what would change, and changes nothing")
	more := strings.Replace(agent, "[probe]", "[probe, extra]", 1) + "    max-sidecars: 7\n"
	f.variables(t, "0.0.1", more, probe+strings.Replace(probe, "probe:", "extra:", 1))
	p := f.mustPlay(t, "host", "--check", "--diff")
	if !strings.Contains(p.output, "+max-sidecars = 7") || p.changes()[n.name] == "0" {
		t.Errorf("check mode does not show the change:\n%s", p.output)
	}
	if strings.Contains(n.run(t, "cat", agentFile), "max-sidecars") || n.has(t, "/etc/sidecar/profiles.d/extra.toml") {
		t.Error("check mode has changed the policy files")
	}

	t.Log("a changed policy is in force at once")
	f.mustPlay(t, "host")
	if out := n.run(t, "sidecarctl", "profiles", "--agent=tester"); !strings.Contains(out, "extra") {
		t.Errorf("the new profile is not in force:\n%s", out)
	}

	t.Log("a profile that is no longer named is removed; the operator's stays")
	f.variables(t, "0.0.1", agent, probe)
	f.mustPlay(t, "host")
	if n.has(t, "/etc/sidecar/profiles.d/extra.toml") || !n.has(t, "/etc/sidecar/profiles.d/own.toml") {
		t.Errorf("profiles: %s", n.run(t, "ls", "/etc/sidecar/profiles.d"))
	}

	t.Log("somebody else's file of the same name is kept under another one")
	n.run(t, "sh", "-c", "sed -i 1d "+agentFile+" && echo 'max-sidecars = 3' >>"+agentFile)
	f.mustPlay(t, "host", "--limit="+n.name)
	if out := n.run(t, "sh", "-c", "cat "+agentFile+".*~"); !strings.Contains(out, "max-sidecars = 3") || strings.Contains(n.run(t, "cat", agentFile), "max-sidecars") {
		t.Errorf("the agent's file of somebody else: %s", out)
	}

	t.Log("a play that was cut off before the reload is made up for")
	n.run(t, "touch", "/run/tripleo.sidecar.reload", "/run/cut-off")
	f.mustPlay(t, "host", "--limit="+n.name, "--check")
	if !n.has(t, "/run/tripleo.sidecar.reload") {
		t.Error("check mode has forgotten the reload")
	}
	f.mustPlay(t, "host", "--limit="+n.name)
	n.run(t, "test", "/run/sidecar/reload.json", "-nt", "/run/cut-off")
	if n.has(t, "/run/tripleo.sidecar.reload") {
		t.Error("the reload is still due")
	}

	t.Log("a broken profile does not reach the service")
	for _, mode := range [][]string{{"--check"}, nil} {
		f.variables(t, "0.0.1", agent, strings.Replace(probe, "instance: --pid-file", "instanze: --pid-file", 1))
		f.mustFail(t, "/etc/sidecar/profiles.d/probe.toml", "host", mode...)
	}
	for _, n := range f.nodes {
		if now := n.run(t, "cat", profileFile); now != before {
			t.Errorf("%s: the profile is now\n%s", n.name, now)
		}
		n.run(t, "sidecarctl", "doctor", "service")
		n.launch(t, "after-broken")
		n.run(t, "sidecarctl", "stop", n.id(t, "after-broken"))
	}
	f.variables(t, "0.0.1", agent, probe)
	f.checkUnchanged(t, "host")
}

func testSpool(t *testing.T, f *fleet) {
	const path = "sidecar-spool@tester.path"
	n := f.nodes[0]
	f.variables(t, "0.0.1", agent+"    spool-user: 0\n", probe)
	f.mustPlay(t, "host", "--limit="+n.name)
	n.run(t, "systemctl", "is-enabled", path)
	n.run(t, "systemctl", "is-active", path)
	f.variables(t, "0.0.1", agent, probe)
	f.mustPlay(t, "host", "--limit="+n.name)
	if out, code := n.try(t, "systemctl", "is-enabled", path); code == 0 {
		t.Errorf("the spool of an agent without spool-user is %s", out)
	}
	if out, code := n.try(t, "systemctl", "is-active", path); code == 0 {
		t.Errorf("the spool of an agent without spool-user is %s", out)
	}
}

func testUpgrade(t *testing.T, f *fleet) {
	var before []string
	for _, n := range f.nodes {
		before = append(before, n.identity(t, "first"))
	}
	versions := func(want ...string) {
		t.Helper()
		for i, n := range f.nodes {
			n.checkVersion(t, want[i])
			if now := n.identity(t, "first"); now != before[i] {
				t.Errorf("%s: the sidecar is %s, before %s", n.name, now, before[i])
			}
		}
	}
	f.variables(t, "0.0.2", agent, probe)
	f.mustPlay(t, "upgrade", "--check")
	versions("0.0.1", "0.0.1", "0.0.1")

	t.Log("a host that cannot be reached keeps the roll-out from beginning")
	f.write(t, "away", "[sidecar]\naway ansible_host=192.0.2.99\n")
	f.mustFail(t, "These hosts cannot be reached: away", "upgrade", "--inventory=hosts", "--inventory=away")
	versions("0.0.1", "0.0.1", "0.0.1")

	t.Log("the second host cannot install the package: the third is not touched")
	second, third := f.nodes[1], f.nodes[2]
	second.run(t, "systemd-run", "--unit=other-packager", "python3", "-c",
		"import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(3600)")
	const oneByOne = "--extra-vars=sidecar_serial=1"
	p := f.mustFail(t, "dpkg frontend lock was locked by another process", "upgrade", oneByOne)
	versions("0.0.2", "0.0.1", "0.0.1")
	if p.changes()[third.name] != "0" {
		t.Errorf("%s: changed=%s\n%s", third.name, p.changes()[third.name], p.output)
	}

	t.Log("mended, it goes on, until the doctor of the third host finds something")
	second.run(t, "systemctl", "stop", "other-packager")
	third.run(t, "rm", "/run/sidecar/agents/tester/io.tripleo.Sidecar")
	f.mustFail(t, "the agent has no socket", "upgrade", oneByOne)
	versions("0.0.2", "0.0.2", "0.0.1")

	t.Log("mended as the doctor says, all are done; who is away is left out if told so, and the exit code says it")
	third.run(t, "systemctl", "reload", "sidecard")
	f.mustFail(t, "unreachable=1", "upgrade", oneByOne, "--extra-vars=sidecar_skip_unreachable=true", "--inventory=hosts", "--inventory=away")
	versions("0.0.2", "0.0.2", "0.0.2")
	f.checkUnchanged(t, "upgrade")
}

func testRecycle(t *testing.T, f *fleet) {
	n := f.nodes[0]
	before := n.identity(t, "first")
	const recycle = `--extra-vars={"sidecar_pull": true, "sidecar_recycle": true, "sidecar_require_confinement": true, "sidecar_doctor_strict": true}`
	n.run(t, "sh", "-c", "podman create --name newer localhost/neutron-sidecars:1 /bin/sh && podman commit --quiet newer localhost/neutron-sidecars:1 && podman rm newer")
	f.mustPlay(t, "upgrade", "--limit="+n.name)
	if now := n.identity(t, "first"); now != before {
		t.Errorf("an upgrade that was not told to recycle has replaced %s by %s", before, now)
	}
	f.mustPlay(t, "upgrade", "--limit="+n.name, recycle, "--check")
	if now := n.identity(t, "first"); now != before {
		t.Errorf("check mode has replaced %s by %s", before, now)
	}
	f.mustPlay(t, "upgrade", "--limit="+n.name, recycle)
	if now := n.identity(t, "first"); now == before {
		t.Errorf("the sidecar runs the older image still: %s", now)
	}
	if p := f.mustPlay(t, "upgrade", "--limit="+n.name, recycle); p.changes()[n.name] != "0" {
		t.Errorf("a second time, changed=%s:\n%s", p.changes()[n.name], p.output)
	}
}

func testRemove(t *testing.T, f *fleet) {
	var before []string
	for _, n := range f.nodes {
		before = append(before, n.identity(t, "first"))
	}
	p := f.mustFail(t, "1 sidecars and network namespaces of agents are here still", "remove")
	for i, n := range f.nodes {
		if now := n.identity(t, "first"); now != before[i] || p.changes()[n.name] != "0" {
			t.Errorf("%s: a refused removal: the sidecar is %s, before %s; changed=%s", n.name, now, before[i], p.changes()[n.name])
		}
	}
	stop := "--extra-vars={\"sidecar_stop\": true, \"sidecar_purge\": true}"
	f.mustPlay(t, "remove", stop, "--check")
	f.nodes[0].checkVersion(t, "0.0.2")
	f.mustPlay(t, "remove", stop)
	for _, n := range f.nodes {
		for _, path := range []string{"/usr/bin/sidecarctl", "/usr/libexec/sidecar", "/etc/sidecar", "/var/lib/sidecar", "/run/sidecar"} {
			if n.has(t, path) {
				t.Errorf("%s: %s is left", n.name, path)
			}
		}
		if out := n.run(t, "systemctl", "list-units", "--plain", "--no-legend", "sidecar*"); out != "" {
			t.Errorf("%s: units are left: %s", n.name, out)
		}
	}
	f.checkUnchanged(t, "remove", stop)
}

// repository makes a repository for apt of the packages in /srv/packages.
const repository = `cd /srv/packages
for deb in */*.deb; do
	dpkg-deb --field $deb
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $deb $(stat -c%s $deb) $(sha256sum <$deb | cut -d' ' -f1)
done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list`

func testRepository(t *testing.T, f *fleet) {
	n := f.nodes[1]
	if err := n.CopyIn(t.Context(), packages, "/srv"); err != nil {
		t.Fatal(err)
	}
	n.run(t, "sh", "-c", repository)
	for _, version := range []string{"0.0.1", "0.0.2", "0.0.1"} {
		f.write(t, "vars.yml", "sidecar_shims: true\nsidecar_version: "+version+"\nsidecar_agents:"+agent+"\nsidecar_profiles:"+probe+"\n")
		f.mustPlay(t, "host", "--limit="+n.name)
		n.checkVersion(t, version)
	}
	if p := f.mustPlay(t, "host", "--limit="+n.name); p.changes()[n.name] != "0" {
		t.Errorf("changed=%s, although everything is in place\n%s", p.changes()[n.name], p.output)
	}
}
