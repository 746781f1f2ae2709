package policy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// TestFieldProcessTags: tags as Neutron makes them (get_process_tag and its callers,
// 22.0 to 2025.2), and others that do no harm.
func TestFieldProcessTags(t *testing.T) {
	t.Parallel()
	const uuid, other = "0b63b2d6-1b2c-4d3e-8f90-a1b2c3d4e5f6", "9d2c51b0-52b4-4ad3-a6fd-66d6ae0e7f58"
	for tag, want := range map[string]string{
		"dnsmasq-" + uuid:         "",
		"dnsmasq-100/" + uuid:     "", // multi-segment network: segment/network
		"haproxy-" + uuid:         "",
		"radvd-" + uuid:           "",
		"keepalived-" + uuid:      "",
		"keepalived-vrrp-" + uuid: "",
		"default-service-" + uuid: "",
		"ip_monitor-" + uuid:      "",
		"dibbler-" + uuid + ":" + other + ":qr-0a1b2c3d-4e": "", // prefix delegation
		"neutron-keepalived-state-change-monitor-" + uuid:   "",
		`name with spaces, "quotes", $HOME, %n, ; and a \`:  "",
		"réseau":                 "",
		strings.Repeat("x", 512): "",
		strings.Repeat("x", 513): "512 bytes",
		"":                       "empty",
		"two\nlines":             "control character",
		"not \xff UTF-8":         "UTF-8",
	} {
		_, err := shipped(t).Decide(policy.Request{
			Agent: "neutron-dhcp", Profile: "dnsmasq", NetworkNamespace: pointer("qdhcp-" + uuid), ProcessTag: &tag,
			Arguments: []string{"--pid-file=/var/lib/neutron/dhcp/" + uuid + "/pid"},
		})
		wantInvalid(t, tag, "processTag", err, want)
	}
}

// TestFieldNamespaceNames: what ip-netns(8) makes and a pattern can grant. A refusal names
// the character.
func TestFieldNamespaceNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"qdhcp-1":                           "",
		"qdhcp-a@b:c+d,e=f%g~h#i":           "",
		"qdhcp-" + strings.Repeat("n", 249): "",
		"qdhcp-" + strings.Repeat("n", 250): "255 bytes",
		"qdhcp-a b":                         `' '`,
		"qdhcp-é":                           `'é'`,
		"qdhcp-*":                           `'*'`,
		"qdhcp-/..":                         `'/'`,
		`qdhcp-\`:                           `'\\'`,
		"qdhcp-\xff":                        `'�'`,
		"..":                                "directory",
	} {
		_, err := shipped(t).Decide(policy.Request{
			Agent: "neutron-dhcp", Profile: "dnsmasq", NetworkNamespace: &name,
			Arguments: []string{"--pid-file=/var/lib/neutron/dhcp/1/pid"},
		})
		wantInvalid(t, name, "networkNamespace", err, want)
	}
}

// TestFieldOperatorsValues: what Neutron passes on of an operator's configuration, unchecked
// (_build_cmdline_callback of neutron/agent/linux/dhcp.py, 21.0 to 26.0): lists of
// dnsmasq_dns_servers, dns_domain, dhcp_lease_duration, many subnets.
func TestFieldOperatorsValues(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	for argument, want := range map[string]string{
		"--server=192.0.2.53":                             "",
		"--server=192.0.2.53#5353":                        "",
		"--server=2001:db8::53":                           "",
		"--server=2001:db8::53#53":                        "",
		"--server=/corp.example/192.0.2.53":               "",
		"--server=/corp.example/other.example/192.0.2.53": "",
		"--server=/2.0.192.in-addr.arpa/2001:db8::53#53":  "",
		"--server=/corp.example/":                         "",
		"--server=/corp.example/#":                        "",
		"--server=//192.0.2.53":                           "",
		"--server=/*.corp.example/192.0.2.53":             "",
		"--server=/réseau.example/192.0.2.53":             "",
		"--server=/corp.example":                          "stands for",
		"--server=/":                                      "stands for",
		"--server=/-x/192.0.2.53":                         "stands for",
		"--server=/a..b/192.0.2.53":                       "stands for",
		"--server=ns.example":                             "stands for",
		"--server=192.0.2.53#0":                           "",
		"--server=/x/192.0.2.53#0":                        "stands for",
		"--server=":                                       "stands for",
		"--domain=openstacklocal":                         "",
		"--domain=example.org.":                           "",
		"--domain=réseau.example":                         "",
		"--domain=例え.テスト":                                 "",
		"--domain=a b":                                    "too much",
		"--domain=é,x":                                    "too much",
		"--domain=é..x":                                   "stands for",
		"--domain=→.example":                              "stands for",
		"--domain=" + strings.Repeat("é", 32):             "stands for",
		"--dhcp-range=set:subnet-1,192.0.2.0,static,255.255.255.0,infinite": "",
		"--dhcp-range=set:subnet-1,2001:db8::,static,64,4294967295s":        "",
		"--dhcp-option=42,192.0.2.1":                                        "no rule of profile dnsmasq accepts --dhcp-option;",
		"--dhcp-opt=3":                                                      "options must be written in full",
	} {
		_, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", []string{"--pid-file=/var/lib/neutron/dhcp/1/pid", argument})
		var refused *interfaces.ArgumentNotAllowedError
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", argument, err)
		case want != "" && (!errors.As(err, &refused) || refused.Index != 1 || !strings.Contains(refused.Reason, want)):
			t.Errorf("%s: error %v, want one with %q", argument, err, want)
		}
	}
	many := []string{"--pid-file=/var/lib/neutron/dhcp/1/pid"}
	for i := range 200 {
		many = append(many, fmt.Sprintf("--dhcp-range=set:subnet-%d,192.0.2.0,static,255.255.255.0,86400s", i), fmt.Sprintf("--server=192.0.2.%d", i))
	}
	if _, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", many); err != nil {
		t.Error(err)
	}
}

// TestFieldOptionsOfEachRelease: every option that Neutron has written for these programs,
// with the first and the last release that does. Read in neutron/agent/linux/dhcp.py,
// keepalived.py, ra.py, conntrackd.py and dibbler.py at the tags 7.0.0 (Liberty) to 28.0.0,
// in stable/2026.1 and in the master branch of August 2026. One is left out: --interface=tap*,
// up to 13.0.0, of a driver that routes and has no namespaces.
func TestFieldOptionsOfEachRelease(t *testing.T) {
	t.Parallel()
	const dhcp, router = "/var/lib/neutron/dhcp/100/0b63b2d6", "984c22fd-64b3-4fa1-8ddd-87090f401ce5" // of a segment: VLAN/network
	const confs, pids = "/var/lib/neutron/ha_confs/", "/var/lib/neutron/external/pids/"
	const pd = "/var/lib/neutron/pd/" + router + ":9d2c:qr-0a1b2c3d-4e"
	for _, test := range []struct{ profile, releases, arguments string }{
		{"dnsmasq", "7.0.0 to master", "--no-hosts --no-resolv --dhcp-hostsfile=" + dhcp + "/host --addn-hosts=" + dhcp + "/addn_hosts --dhcp-optsfile=" + dhcp + "/opts --dhcp-leasefile=" + dhcp + "/leases"},
		{"dnsmasq", "7.0.0 to master", "--dhcp-match=set:ipxe,175 --bind-dynamic --bridge-interface=tap0a1b2c3d-4e,tap* --dhcp-option-force=option:mtu,1450 --dhcp-lease-max=16777216 --conf-file=/dev/null --conf-file= --dhcp-broadcast"},
		{"dnsmasq", "7.0.0 to master", "--server=192.0.2.53 --domain=openstacklocal --log-queries --log-dhcp --log-facility=/var/lib/neutron/dhcp/log/0b63b2d6/dhcp_dns_log"},
		{"dnsmasq", "7.0.0 to master", "--dhcp-range=set:subnet-0b63b2d6,2001:db8::,static,64,86400s"},
		{"dnsmasq", "7.0.0 to 10.0.0", "--dhcp-range=set:tag0,192.0.2.0,static,86400s"},
		{"dnsmasq", "7.0.0 to 12.0.0", "--strict-order"},
		{"dnsmasq", "7.0.0 to 13.0.0", "--interface=tap0a1b2c3d-4e --except-interface=lo"},
		{"dnsmasq", "7.0.0 to 14.0.0", "--bind-interfaces"},
		{"dnsmasq", "11.0.0 to master", "--dhcp-range=set:subnet-0b63b2d6,192.0.2.0,static,255.255.255.0,infinite"},
		{"dnsmasq", "12.0.0 to master", "--dhcp-option-force=option:T1,43200s --dhcp-option-force=option:T2,75600s"},
		{"dnsmasq", "14.0.0 to master", "--dhcp-userclass=set:ipxe6,iPXE --local-service"},
		{"dnsmasq", "28.0.0 to master", "--txt-record=example.org,v=spf1"},
		{"keepalived", "7.0.0 to master", "-P -f " + confs + router + "/keepalived.conf -p " + confs + router + ".pid.keepalived -r " + confs + router + ".pid.keepalived-vrrp"},
		{"keepalived", "11.0.0 to master", "-p " + confs + router + ".pid.keepalived -r " + confs + router + ".pid.keepalived-vrrp -D"},
		{"radvd", "7.0.0 to master", "-C /var/lib/neutron/ra/" + router + ".radvd.conf -p " + pids + router + ".pid.radvd -m syslog"},
		{"radvd", "13.0.0 to master", "-C /var/lib/neutron/ra/" + router + ".radvd.conf -p " + pids + router + ".pid.radvd -u neutron"},
		{"dibbler-client", "7.0.0 to 25.0.0", "start -w " + pd},
		{"conntrackd", "26.0.0 to master", "-d -C " + confs + router + "/conntrackd.conf"},
	} {
		arguments := strings.Fields(test.arguments)
		agent, netns := "neutron-l3", "qrouter-"+router
		if test.profile == "dnsmasq" {
			agent, netns = "neutron-dhcp", "qdhcp-0b63b2d6"
			arguments = append([]string{"--pid-file=" + dhcp + "/pid"}, arguments...)
		}
		if _, err := decideArguments(withPrefixDelegation(t), agent, test.profile, netns, arguments); err != nil {
			t.Errorf("%s, %s: %v", test.profile, test.releases, err)
		}
	}
}

// withPrefixDelegation is the shipped policy, with what the L3 agent's example says to add
// for dibbler-client.
func withPrefixDelegation(t *testing.T) *policy.Set {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"profiles.d/*.toml", "examples/agents.d/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, strings.TrimPrefix(file, "examples/")), strings.NewReplacer(`["conntrackd",`, `["conntrackd", "dibbler-client",`, `"ra"]`, `"pd", "ra"]`).Replace(string(text)))
		}
	}
	return load(t, dir)
}

// TestFieldRepeatingHole: a list of values in one argument.
func TestFieldRepeatingHole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), strings.Replace(goodProfile, `arguments = [`, `arguments = ["--ntp={ip,...}", "--names={name,...};{int}", `, 1))
	write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
	set := load(t, dir)
	for argument, good := range map[string]bool{
		"--ntp=192.0.2.1": true, "--ntp=192.0.2.1,2001:db8::1,192.0.2.3": true, "--ntp=": false, "--ntp=,": false,
		"--ntp=192.0.2.1,": false, "--ntp=,192.0.2.1": false, "--ntp=192.0.2.1,x": false,
		"--names=a,b-c;7": true, "--names=a,-b;7": false, "--names=a,b;": false,
	} {
		_, err := set.Decide(policy.Request{Agent: "a", Profile: "x", NetworkNamespace: pointer("x-1"), Arguments: []string{"-f", "/srv/x/c/y", argument}})
		if (err == nil) != good {
			t.Errorf("%s: %v", argument, err)
		}
	}
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), strings.Replace(goodProfile, `arguments = [`, `arguments = ["--x={path:ro,...}", `, 1))
	if _, err := policy.Load(dir); err == nil || !strings.Contains(err.Error(), "unknown hole {path:ro,...}") {
		t.Errorf("a list of paths: %v", err)
	}
}

// TestFieldSubdirectoriesOfEachStateDirectory: logs in a directory of their own, of which
// other parts are the agent's than of the state directory.
func TestFieldSubdirectoriesOfEachStateDirectory(t *testing.T) {
	t.Parallel()
	for subs, want := range map[string]map[string]bool{
		`["dhcp", "/var/log/neutron/dnsmasq"]`: {
			"/var/lib/neutron/dhcp/1/pid": true, "/var/lib/neutron/dnsmasq/1/pid": false,
			"/var/log/neutron/dnsmasq/1/log": true, "/var/log/neutron/dhcp/1/log": false, "/var/log/neutron/other/log": false,
		},
		`["/var/lib/neutron/dhcp"]`: {
			"/var/lib/neutron/dhcp/1/pid": true, "/var/lib/neutron/x/pid": false, "/var/log/neutron/any/log": true,
		},
		`["dhcp", "/var/log/neutron"]`: {
			"/var/lib/neutron/x/pid": false, "/var/log/neutron/any/log": true, "/var/log/other/log": false,
		},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
		write(t, filepath.Join(dir, "agents.d", "a.toml"), `profiles = ["x"]
network-namespaces = ["x-*"]
state-directories = ["/var/lib/neutron", "/var/log/neutron"]
subdirectories = `+subs+"\n")
		set := load(t, dir)
		for file, good := range want {
			_, err := set.Decide(policy.Request{Agent: "a", Profile: "x", NetworkNamespace: pointer("x-1"), Arguments: []string{"-f", file}})
			if (err == nil) != good {
				t.Errorf("%s, %s: %v", subs, file, err)
			}
		}
	}
}

// TestFieldMountElsewhere: a file of the host that the container sees at another path.
func TestFieldMountElsewhere(t *testing.T) {
	t.Parallel()
	for mount, want := range map[string]string{
		`"/etc/kolla/neutron-dhcp-agent/dnsmasq.conf:/etc/neutron/dnsmasq.conf:ro"`: "",
		`"-/etc/kolla/dnsmasq.conf:/etc/neutron/dnsmasq.conf:ro"`:                   "",
		`"/etc/x:/proc/x:ro"`:                    "nothing may be mounted on or in /proc",
		`"/etc/x:/:ro"`:                          "nothing may be mounted on or in /",
		`"/etc/x:/dev/log:ro"`:                   "nothing may be mounted on or in /dev",
		`"/etc/x:etc/y:ro"`:                      "it must be absolute",
		`"/etc/x:/etc/y:/etc/z:ro"`:              "no ':' in its path",
		`"/etc/x:/etc/y"`:                        "must end in :ro, :rw or :private",
		`"{state}/x:/etc/y:ro"`:                  "no ':' in its path",
		`"/etc/x:/srv/x/sub:ro"`:                 "overlaps the fixed mount /etc/x of profile x",
		`"/etc/x:/etc/z:ro", "/etc/y:/etc/z:ro"`: "is listed twice",
		`"/root/x:/etc/y:ro"`:                    "nothing in /root may be handed out",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+"mounts = ["+mount+"]\n")
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		set, err := policy.Load(dir)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", mount, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", mount, err)
			continue
		}
		d, err := set.Decide(policy.Request{Agent: "a", Profile: "x", NetworkNamespace: pointer("x-1"), Arguments: []string{"-f", "/srv/x/c/y"}})
		if err != nil || d.Mounts[0].Target != "/etc/neutron/dnsmasq.conf" || !strings.HasPrefix(d.Mounts[0].Path, "/etc/kolla/") {
			t.Errorf("%s: %+v, %v", mount, d, err)
		}
	}
}

// wantInvalid holds a decision to refuse a parameter for a reason, or to accept it if the
// reason is "".
func wantInvalid(t *testing.T, value, parameter string, err error, want string) {
	t.Helper()
	var problem *interfaces.InvalidParameterError
	switch {
	case want == "" && err != nil:
		t.Errorf("%q: %v", value, err)
	case want != "" && (!errors.As(err, &problem) || problem.Parameter != parameter || !strings.Contains(problem.Reason, want)):
		t.Errorf("%q: error %v, want one about %s with %q", value, err, parameter, want)
	}
}
