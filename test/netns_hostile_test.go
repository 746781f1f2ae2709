//go:build testhost

package test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// launchFromOwn launches in the namespace that the caller is in, and leaves it to
// the service to find out which that is.
func launchFromOwn(t *testing.T, name string) {
	t.Helper()
	p := probe(t, name)
	p.NetworkNamespace = nil
	began := time.Now()
	result := callFrom(t, foreignCall{Address: socketOf(tester), Parameters: p}, "ip", "netns", "exec", name)
	if result.Error != "" {
		t.Fatal(result.Error)
	}
	t.Logf("launched in %v", time.Since(began))
	stopAtEnd(t, tester, result.Sidecar.ID)
	checkRunning(t, result.Sidecar, p)
}

// TestNetnsFlooded shows that an agent which fills /run/netns does not keep others
// from launching in the namespace that they call from.
func TestNetnsFlooded(t *testing.T) {
	begin(t)
	namespace(t, "t-flooded")
	t.Cleanup(func() { run(t, "find", "/run/netns", "-name", "junk-*", "-delete") })
	for i := range 70_000 {
		if err := os.WriteFile(fmt.Sprintf("/run/netns/junk-%d", i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	launchFromOwn(t, "t-flooded")
}

// TestNetnsThatDoesNotAnswer shows that a file system which an agent has mounted in
// the place of a namespace, and which never answers, holds nobody up.
func TestNetnsThatDoesNotAnswer(t *testing.T) {
	begin(t)
	namespace(t, "t-beside")
	mute(t, netnsDirectory+"t-hangs")
	launchFromOwn(t, "t-beside")
	refused(t, tester, probe(t, "t-hangs"), interfaces.ErrNoSuchNetworkNamespace)
}
