//go:build testhost

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestLaunchDnsmasqServesDHCP(t *testing.T) {
	begin(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.10")
	s := start(t, neutron, n.parameters())
	if got := n.lease(t); got != "192.0.2.10" {
		t.Errorf("the machine got %s", got)
	}
	pid := int(*s.Runtime.ProcessID)
	// Neutron looks processes up by their command line, as pgrep -f does.
	want := strings.Join(n.arguments(), " ")
	if got := processesWith(want); len(got) != 1 || got[0] != pid {
		t.Errorf("processes %v show the command line, want only %d", got, pid)
	}
	if got := get(t, neutron, s.ID); cmp.Diff(s, got) != "" {
		t.Errorf("List shows something else than Launch (-launch +list):\n%s", cmp.Diff(s, got))
	}
}

func TestLaunchRunsInTheNamespaceAndNoOther(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	pid := int(*start(t, neutron, n.parameters()).Runtime.ProcessID)
	if got, want := namespaceOf(t, pid, "net"), netnsOf(t, n.namespace); got != want {
		t.Errorf("network namespace %s, want %s", got, want)
	}
	for _, kind := range []string{"pid", "mnt", "ipc", "uts"} {
		if namespaceOf(t, pid, kind) == namespaceOf(t, os.Getpid(), kind) {
			t.Errorf("the sidecar is in the host's %s namespace", kind)
		}
	}
	if got := status(t, pid, "NSpid"); got != fmt.Sprintf("%d 1", pid) {
		t.Errorf("NSpid is %q, want %d on the host and 1 inside", got, pid)
	}
}

// Capability bits of linux/capability.h.
const (
	capNetRaw         = 13
	capNetAdmin       = 12
	capNetBindService = 10
)

func TestLaunchGivesNoMorePrivilegeThanTheProfile(t *testing.T) {
	begin(t)
	namespace(t, "t-privilege")
	p := probe(t, "t-privilege")
	pid := int(*start(t, tester, p).Runtime.ProcessID)
	want := fmt.Sprintf("%016x", 1<<capNetRaw)
	for field, want := range map[string]string{
		"CapEff": want, "CapPrm": want, "CapBnd": want, "CapAmb": want,
		"Uid":        "42435 42435 42435 42435",
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	n := bareNetwork(t)
	pid = int(*start(t, neutron, n.parameters()).Runtime.ProcessID)
	const all = 1<<capNetRaw | 1<<capNetAdmin | 1<<capNetBindService
	if got, want := status(t, pid, "CapBnd"), fmt.Sprintf("%016x", all); got != want {
		t.Errorf("dnsmasq's bounding set is %s, want %s", got, want)
	}
}

// mountedByRuntime are the mounts that every container has.
func mountedByRuntime(target string) bool {
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if target == own || strings.HasPrefix(target, own+"/") {
			return true
		}
	}
	return target == "/" || target == "/etc/hostname" || target == "/etc/resolv.conf" || target == "/run/.containerenv"
}

func TestLaunchMountsOnlyWhatTheArgumentsName(t *testing.T) {
	begin(t)
	namespace(t, "t-mounts")
	p := probe(t, "t-mounts")
	readable := directory(t)
	write(t, readable+"/conf", "x")
	p.Arguments = append(p.Arguments, "--file="+readable+"/conf")
	pid := int(*start(t, tester, p).Runtime.ProcessID)
	mounts := mountsOf(t, pid)
	writable := strings.TrimSuffix(pidFileOf(p.Arguments), "/pid")
	got := map[string]string{}
	for target, options := range mounts {
		if !mountedByRuntime(target) {
			got[target], _, _ = strings.Cut(options, ",")
		}
	}
	if diff := cmp.Diff(map[string]string{writable: "rw", readable: "ro"}, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	for _, target := range []string{"/", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"} {
		if options, ok := mounts[target]; ok && !strings.HasPrefix(options, "ro") {
			t.Errorf("%s is mounted %s", target, options)
		}
	}
	for _, target := range []string{writable, readable} {
		for _, option := range []string{"nosuid", "nodev", "noexec"} {
			if !strings.Contains(mounts[target], option) {
				t.Errorf("%s is mounted %s, without %s", target, mounts[target], option)
			}
		}
	}
}

func TestLaunchPassesTheProcessTagAndNothingOfOurs(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	pid := int(*start(t, neutron, n.parameters()).Runtime.ProcessID)
	got := environ(t, pid)
	if got["PROCESS_TAG"] != "dnsmasq-"+n.id {
		t.Errorf("PROCESS_TAG is %q", got["PROCESS_TAG"])
	}
	for name := range got {
		switch name {
		case "PROCESS_TAG", "PATH", "HOME", "HOSTNAME", "TERM", "container":
		default:
			t.Errorf("the sidecar's environment has %s=%q", name, got[name])
		}
	}
}

// probe returns the launch of a probe in a namespace, with a directory of its own.
func probe(t testing.TB, netns string, more ...string) interfaces.LaunchParameters {
	t.Helper()
	return shaped(t, "probe", netns, more...)
}

// shaped is probe for any profile of the tests.
func shaped(t testing.TB, profile, netns string, more ...string) interfaces.LaunchParameters {
	t.Helper()
	return interfaces.LaunchParameters{
		Profile: profile, NetworkNamespace: &netns,
		Arguments: append([]string{"--pid-file=" + directory(t) + "/pid"}, more...),
	}
}
