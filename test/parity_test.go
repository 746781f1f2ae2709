//go:build testhost

package test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// observed are the properties of a container and its processes, as the host sees them. What
// is new with every container (its ID, the numbers of its processes) is left out.
type observed map[string]string

// differences are the properties in which an engine's containers may differ from podman's,
// each with its reason.
var differences = map[string]map[string]string{
	runtimeEngine: {
		"cgroup":                   "the payload is alone in the unit, and needs no control group below it",
		"mount /sys/fs/cgroup":     "as cgroup",
		"others in the unit":       "no monitor process",
		"hostname":                 "podman names a container by its ID, this engine by the last part of the sidecar's",
		"env HOSTNAME":             "as hostname",
		"env HAPROXY_LOCALPEER":    "as hostname",
		"content /etc/hostname":    "as hostname",
		"mount /etc/hostname":      "a file of the launch, in the place of one of podman's container",
		"mount /etc/resolv.conf":   "as the mount of /etc/hostname",
		"mount /run/.containerenv": "podman's note to programs that ask whether podman runs them",
		"file /etc/mtab":           "podman makes this link in the container's own layer; no shipped program reads it",
		"device c 10:200":          "/dev/net/tun: DevicePolicy= is stricter than podman's filter",
		"mount /":                  "the image and the mount points in one overlay without an upper directory",
	},
}

// kinds make a sidecar of each shipped profile, with the real program.
var kinds = map[string]func(*testing.T) kind{
	"conntrackd":     func(t *testing.T) kind { k, _ := newConntrackd(t); return k },
	"dibbler-client": func(t *testing.T) kind { k, _ := newDibbler(t); return k },
	"dnsmasq":        newDnsmasq,
	"haproxy":        func(t *testing.T) kind { k, _ := newHaproxy(t); return k },
	"keepalived":     func(t *testing.T) kind { k, _, _ := newKeepalived(t); return k },
	"radvd":          newRadvd,
}

// onSomeHosts are differences between crun and another OCI runtime, or an older crun, and
// between versions of podman.
var onSomeHosts = map[string]string{
	"device c 5:1":              "/dev/console: as device c 10:200; runc's filter does not let it be opened either",
	"env HOME":                  "podman 5 leaves it empty with --passwd=false, which only podman run has; podman 4.3 and crun set it to /",
	"dev /dev/core":             "crun makes this link, runc does not",
	"mount /proc/acpi":          "crun and runc mask with file systems of different options",
	"mount /proc/keys":          "as mount /proc/acpi",
	"mount /proc/timer_list":    "as mount /proc/acpi",
	"mount /sys/firmware":       "as mount /proc/acpi",
	"mount /sys":                "runc makes the superblock read-only, too",
	"mount /run":                "podman 4.3 with runc gives a tmpfs the mode of its mount point",
	"mount /tmp":                "as mount /run",
	"mount /sys/dev/block":      "as mount /proc/acpi",
	"mount /proc/bus":           "crun 1.8 drops nosuid, nodev and noexec of what it makes read-only in /proc",
	"mount /proc/fs":            "as mount /proc/bus",
	"mount /proc/irq":           "as mount /proc/bus",
	"mount /proc/sys":           "as mount /proc/bus",
	"mount /proc/sysrq-trigger": "as mount /proc/bus",
}

// podmansRuntime has podman run crun, as this engine does, and returns in what the engines may
// differ. Where podman cannot run crun (in a test host of Debian 12 it may not raise a limit),
// it runs runc.
func podmansRuntime(t *testing.T, engine string) (line string, allowed map[string]string) {
	t.Helper()
	allowed = maps.Clone(differences[engine])
	maps.Copy(allowed, onSomeHosts)
	if _, err := output("podman", "--runtime=crun", "run", "--rm", "--network=none", "--entrypoint=[]", image, "/bin/true"); err == nil {
		return "runtime = [\"crun\"]\nruntime-required = true\n", allowed
	}
	return "", allowed
}

// TestEngineParity starts each shipped profile with each engine, in the same namespace and
// with the same arguments, and compares what podman makes with what the others make.
func TestEngineParity(t *testing.T) {
	shipped := shippedFiles(t)
	used := map[string]bool{} // engine and property
	compared := 0
	line, allowed := podmansRuntime(t, runtimeEngine)
	for _, profile := range slices.Sorted(maps.Keys(shipped)) {
		t.Run(profile, func(t *testing.T) {
			begin(t)
			if kinds[profile] == nil {
				t.Fatal("no test knows how to launch it")
			}
			k := kinds[profile](t)
			want := k.propertiesWith(t, line+shipped[profile])
			for _, name := range engines[1:] {
				got := k.propertiesWith(t, engineLine(name)+shipped[profile])
				for _, property := range compare(t, want, got, allowed) {
					used[name+" "+property] = true
				}
			}
			compared++
		})
	}
	if compared < len(shipped) {
		return // not all were asked for, or one has failed
	}
	for _, name := range engines[1:] {
		for property := range differences[name] {
			if !used[name+" "+property] {
				t.Errorf("engine %q does not differ in %q any more: take it off the list", name, property)
			}
		}
	}
}

// TestEngineParityOfPodmanWithItself shows that nothing is compared that changes by itself.
func TestEngineParityOfPodmanWithItself(t *testing.T) {
	if testing.Short() {
		t.Skip("SHORT=1: it tests TestEngineParity")
	}
	for profile, text := range shippedFiles(t) {
		t.Run(profile, func(t *testing.T) {
			begin(t)
			k := kinds[profile](t)
			compare(t, k.propertiesWith(t, text), k.propertiesWith(t, text), nil)
		})
	}
}

// TestEngineParityNoticesDifferences compares a shipped profile with one that gives more.
func TestEngineParityNoticesDifferences(t *testing.T) {
	begin(t)
	text := shippedFiles(t)["radvd"]
	k := kinds["radvd"](t)
	want := k.propertiesWith(t, text)
	k.capabilities = append(k.capabilities, "CHOWN")
	got := k.propertiesWith(t, strings.Replace(text, "capabilities = [", `capabilities = ["CHOWN",`, 1)+
		"environment = [\"MORE=1\"]\ntmpfs = [\"/srv\"]\n")
	for _, name := range []string{
		"CapBnd of process 1", "CapEff of process 2", "env MORE of process 1", "mount /srv",
	} {
		if want[name] == got[name] {
			t.Errorf("%s: %q in both", name, got[name])
		}
	}
	for name, value := range map[string]string{
		"NoNewPrivs of process 1": "1", "namespace net of process 2": "the named one", "namespace pid of process 1": "its own",
		"proc /proc/kcore": "", "dev /dev/null": "", "device c 1:11": "", "mount /proc": "", "file /usr/sbin/radvd": "",
		"limit Max open files of process 1": "", "fd 1 of process 1": "", "hostname": "CONTAINER",
	} {
		if want[name] != got[name] || want[name] == "" || value != "" && value != got[name] {
			t.Errorf("%s: %q and %q, want %q in both", name, want[name], got[name], value)
		}
	}
	t.Logf("%d properties are compared", len(want))
}

var ofProcess = regexp.MustCompile(` of process \d+$`)

// compare fails the test for each property that differs and must not. It returns the
// properties that differ and may.
func compare(t *testing.T, want, got observed, allowed map[string]string) []string {
	t.Helper()
	var used []string
	one, other := maps.Clone(want), maps.Clone(got)
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		property := ofProcess.ReplaceAllString(name, "")
		if reason := allowed[property]; reason != "" && want[name] != got[name] {
			used = append(used, property)
			t.Logf("%s differs, as it may (%s):\n-%s\n+%s", name, reason, want[name], got[name])
			delete(one, name)
			delete(other, name)
		}
	}
	if d := cmp.Diff(one, other); d != "" {
		t.Errorf("(-podman +other):\n%s", d)
	}
	return used
}
