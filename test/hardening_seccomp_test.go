//go:build testhost

package test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

const (
	seccompFile = "/usr/share/sidecar/seccomp.json"
	seccompKey  = `seccomp = "default"`
)

// capabilitiesOf lists the capabilities of the shipped profiles that some calls need.
var capabilitiesOf = map[string]string{
	"conntrackd": "NET_ADMIN", "dibbler-client": "NET_BIND_SERVICE", "dnsmasq": "NET_ADMIN NET_BIND_SERVICE NET_RAW",
	"haproxy": "NET_BIND_SERVICE", "keepalived": "NET_ADMIN NET_RAW", "radvd": "NET_RAW",
}

// TestHardeningSeccompRefuses makes every call that no side process needs, and those
// that they live by, in the place of the shipped programs.
func TestHardeningSeccompRefuses(t *testing.T) {
	begin(t)
	for _, profile := range payloads {
		t.Run(profile, func(t *testing.T) {
			got := attack(t, profile, "system-calls")
			for _, try := range refusedTries() {
				if !refusedByFilter(profile, try.name, got[try.name]) {
					t.Errorf("%s: %s", try.name, got[try.name])
				}
			}
			for _, try := range otherEntries() {
				t.Logf("%s: %s", try.name, got[try.name])
				if refused := entries[try.name].refused; !slices.Contains(refused, got[try.name]) {
					t.Errorf("%s: %q, want one of %q", try.name, got[try.name], refused)
				}
			}
			checkAllowed(t, profile, got)
		})
	}
}

// refusedByFilter tells the filter's answer. The OCI runtime says ENOSYS to calls
// that are newer than its libseccomp.
func refusedByFilter(profile, name, got string) bool {
	switch name {
	case "netlink 12", "netlink 12 with high bits": // NETLINK_NETFILTER
		return got == map[bool]string{true: "ok", false: "EPERM"}[profile == "conntrackd"]
	case "clone3":
		return got == "ENOSYS"
	case "open_tree_attr", "statmount", "listmount", "listns":
		return got == "ENOSYS" || got == "EPERM"
	}
	return got == "EPERM"
}

// checkAllowed looks at calls that the filter lets through, whatever the kernel says
// to them.
func checkAllowed(t *testing.T, profile string, got map[string]string) {
	t.Helper()
	for _, try := range allowedCalls() {
		if got[try.name] != "ok" {
			t.Errorf("%s: %q", try.name, got[try.name])
		}
	}
	for _, try := range allowedRequests() {
		if got[try.name] == "" || got[try.name] == "EPERM" {
			t.Errorf("%s: %q", try.name, got[try.name])
		}
	}
	for capability, tries := range map[string][]try{"NET_ADMIN": needNetAdmin(), "NET_RAW": needNetRaw()} {
		for _, try := range tries {
			if allowed := got[try.name] != "EPERM"; allowed != strings.Contains(capabilitiesOf[profile], capability) {
				t.Errorf("%s: %q", try.name, got[try.name])
			}
		}
	}
}

// TestHardeningSeccompIsWhatRefuses shows what a payload can do with the engine's own
// filter, and cannot with ours: of these it is the filter that keeps it.
func TestHardeningSeccompIsWhatRefuses(t *testing.T) {
	begin(t)
	got := targetOf(t, "dnsmasq", seccompKey).attack(t, "system-calls")
	for _, name := range []string{
		"keyctl", "clone user", "ptrace", "process_vm_readv", "process_vm_writev", "memfd_create", "execveat", "mknodat",
		"personality", "pidfd_getfd", "io_setup", "mq_open", "shmget", "semget", "msgget", "name_to_handle_at", "fanotify_mark",
		"unshare user", "unshare nothing", "clone3", "syncfs", "adjtimex", "fsetxattr", "set_mempolicy",
		"socket 40", "socket 38", "netlink 9 with high bits", "netlink 12", "netlink 16", "ping in family 2", "set iptables 64", "get iptables 64", "set multicast routes", "ioctl 0x894c", "ioctl 0x10000894c", "ioctl 0x5412", "ioctl 0x541c", "ioctl 0xb701",
	} {
		if got[name] == "" || got[name] == "EPERM" || got[name] == "ENOSYS" {
			t.Errorf("%s with the engine's own filter: %q", name, got[name])
		}
	}
	var kernel []string
	for _, try := range refusedTries() {
		if got[try.name] == "EPERM" || got[try.name] == "ENOSYS" {
			kernel = append(kernel, try.name)
		}
	}
	t.Logf("refused without our filter, too: %s", strings.Join(kernel, ", "))
	for _, name := range []string{"keyctl", "clone user", "memfd_create", "ioctl 0x894c", "socket 40", "entry x32", "entry of 32 bits"} {
		t.Logf("%s with the engine's own filter: %s", name, got[name])
	}
}

// TestHardeningSeccompFileOfTheAdministrator: a profile's own file is what counts.
func TestHardeningSeccompFileOfTheAdministrator(t *testing.T) {
	begin(t)
	shipped, err := os.ReadFile(seccompFile)
	if err != nil {
		t.Fatal(err)
	}
	own := t.TempDir() + "/with-keyctl.json"
	write(t, own, strings.Replace(string(shipped), `"names": [`, `"names": ["keyctl", `, 1))
	got := targetOf(t, "dnsmasq", `seccomp = "`+own+`"`).attack(t, "system-calls")
	if got["keyctl"] != "ok" || got["add_key"] != "EPERM" {
		t.Errorf("keyctl: %q, add_key: %q; want ok and EPERM", got["keyctl"], got["add_key"])
	}
}

// TestHardeningSeccompFileIsMissing: without the file nothing is launched, and the
// caller hears why.
func TestHardeningSeccompFileIsMissing(t *testing.T) {
	begin(t)
	namespace(t, "t-seccomp")
	if err := os.Rename(seccompFile, seccompFile+".away"); err != nil {
		t.Fatal(err)
	}
	back := func() error { return os.Rename(seccompFile+".away", seccompFile) }
	t.Cleanup(func() { _ = back() })
	err := refused(t, tester, probe(t, "t-seccomp"), interfaces.ErrLaunchFailed)
	if !strings.Contains(err.Error(), seccompFile) {
		t.Errorf("the caller hears %v, want the file's name", err)
	}
	if err := back(); err != nil {
		t.Fatal(err)
	}
	start(t, tester, probe(t, "t-seccomp"))
	stopAllAtEnd(t, tester)
}

// TestHardeningForeignPrograms: a payload can run what is in its image, and nothing
// that it wrote.
func TestHardeningForeignPrograms(t *testing.T) {
	begin(t)
	for _, profile := range payloads {
		t.Run(profile, func(t *testing.T) {
			got := attack(t, profile, "foreign-programs")
			if !slices.Contains(slices.Collect(maps.Values(got)), "EACCES") {
				t.Errorf("it could write nowhere, so nothing was tried: %v", got)
			}
			for place, answer := range got {
				t.Logf("%s: %s", place, answer)
				if answer == "ok" {
					t.Errorf("a program that was written to %s was run", place)
				}
			}
			if len(got) < 4 {
				t.Errorf("it has looked at %v only", got)
			}
		})
	}
}
