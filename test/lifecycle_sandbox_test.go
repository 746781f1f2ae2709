//go:build testhost

package test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func createSandbox(t *testing.T, agent, name string) {
	t.Helper()
	if err := as(t, agent).CreateNamespace(minute(t), interfaces.CreateNamespaceParameters{NetworkNamespace: name}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := as(t, agent).DeleteNamespace(minute(t), interfaces.DeleteNamespaceParameters{NetworkNamespace: name, Force: new(true)})
		if err != nil && !errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) {
			t.Error(err)
		}
	})
}

func deleteSandbox(t *testing.T, agent, name string, force bool) error {
	t.Helper()
	return as(t, agent).DeleteNamespace(minute(t), interfaces.DeleteNamespaceParameters{NetworkNamespace: name, Force: &force})
}

// TestLifecycleSandbox: two sidecars share the network of a namespace that the service made,
// and nothing else; it lives without a process, and until nobody uses it.
func TestLifecycleSandbox(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		createSandbox(t, tester, "t-sb-1")
		if lo := run(t, "ip", "-n", "t-sb-1", "-o", "link", "show", "lo"); !strings.Contains(lo, "LOOPBACK,UP") {
			t.Errorf("loopback: %s", lo)
		}
		if left := run(t, "ip", "netns", "pids", "t-sb-1"); left != "" {
			t.Errorf("processes in the empty namespace: %s", left)
		}
		first, second := start(t, tester, probe(t, "t-sb-1")), start(t, tester, probe(t, "t-sb-1"))
		for _, kind := range []string{"net", "pid", "ipc", "uts", "mnt"} {
			one, two := namespaceOf(t, int(*first.Runtime.ProcessID), kind), namespaceOf(t, int(*second.Runtime.ProcessID), kind)
			if (one == two) != (kind == "net") {
				t.Errorf("namespaces %s: %s and %s", kind, one, two)
			}
		}
		var inUse *interfaces.NamespaceInUseError
		if err := deleteSandbox(t, tester, "t-sb-1", false); !errors.As(err, &inUse) || len(inUse.Sidecars) != 2 {
			t.Errorf("deleted while in use: %v", err)
		}
		if err := as(t, tester).CreateNamespace(minute(t), interfaces.CreateNamespaceParameters{NetworkNamespace: "t-sb-1"}); !errors.Is(err, interfaces.ErrNamespaceExists) {
			t.Errorf("made twice: %v", err)
		}
		if err := deleteSandbox(t, tester, "t-sb-1", true); err != nil {
			t.Fatal(err)
		}
		gone(t, tester, first.ID)
		gone(t, tester, second.ID)
		checkNoSandbox(t, "t-sb-1")
		if err := deleteSandbox(t, tester, "t-sb-1", true); !errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

// checkNoSandbox finds what is left of a namespace that was deleted.
func checkNoSandbox(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(netnsDirectory + name); !os.IsNotExist(err) {
		t.Errorf("the name is left: %v", err)
	}
	if pins, err := os.ReadDir("/run/sidecar/namespaces"); err != nil || len(pins) != 0 {
		t.Errorf("pins are left: %v, %v", pins, err)
	}
	eventually(t, 3*time.Second, "the unit is gone", func() bool {
		return run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "sidecar-namespace:*") == ""
	})
}

// TestLifecycleSandboxAttacks: an agent deletes only what was made for it, and makes only what
// its file allows.
func TestLifecycleSandboxAttacks(t *testing.T) {
	begin(t)
	namespace(t, "t-sb-neutron") // somebody else's, with a name that the agent may have made
	createSandbox(t, tester, "t-sb-1")
	for _, agent := range []string{tester, sandboxer} {
		for _, name := range []string{"t-sb-neutron", "t-x", "qdhcp-1", "../netns/t-sb-neutron", "t-sb-missing"} {
			if err := deleteSandbox(t, agent, name, true); err == nil {
				t.Errorf("%s has deleted %s", agent, name)
			}
		}
	}
	if err := deleteSandbox(t, sandboxer, "t-sb-1", true); !errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) {
		t.Errorf("another agent deletes it: %v", err)
	}
	for name, want := range map[string]error{
		"t-sb-neutron": interfaces.ErrNamespaceExists, "t-sb-1": interfaces.ErrNamespaceExists,
		"qdhcp-1": interfaces.ErrNamespaceNotAllowed, "t-x": interfaces.ErrNamespaceNotAllowed,
		"../x": interfaces.ErrInvalidParameter, "": interfaces.ErrInvalidParameter, "..": interfaces.ErrInvalidParameter,
	} {
		if err := as(t, sandboxer).CreateNamespace(minute(t), interfaces.CreateNamespaceParameters{NetworkNamespace: name}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{"t-sb-2", "t-sb-3"} {
		createSandbox(t, sandboxer, name)
	}
	var tooMany *interfaces.TooManyNamespacesError
	if err := as(t, sandboxer).CreateNamespace(minute(t), interfaces.CreateNamespaceParameters{NetworkNamespace: "t-sb-4"}); !errors.As(err, &tooMany) || tooMany.Limit != 2 {
		t.Errorf("a third one: %v", err)
	}
	for _, name := range []string{"t-sb-neutron", "t-sb-1"} {
		netnsOf(t, name) // fails without it
	}
}

// TestLifecycleSandboxOfOthers: sidecars of another agent keep it from being deleted, and an
// agent does not learn which they are.
func TestLifecycleSandboxOfOthers(t *testing.T) {
	begin(t)
	createSandbox(t, sandboxer, "t-sb-2")
	s := start(t, tester, probe(t, "t-sb-2"))
	var inUse *interfaces.NamespaceInUseError
	if err := deleteSandbox(t, sandboxer, "t-sb-2", true); !errors.As(err, &inUse) || len(inUse.Sidecars) != 0 {
		t.Errorf("deleted under another agent's sidecar: %v", err)
	}
	checkRunning(t, get(t, tester, s.ID), probeAgain(s))
}

// probeAgain is the launch of a sidecar.
func probeAgain(s *interfaces.Sidecar) interfaces.LaunchParameters {
	return interfaces.LaunchParameters{Profile: s.Context.Profile, Arguments: s.Context.Arguments, NetworkNamespace: s.Context.NetworkNamespace}
}
