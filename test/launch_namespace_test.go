//go:build testhost

package test

import (
	"os"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestLaunchInTheCallersOwnNamespace(t *testing.T) {
	begin(t)
	namespace(t, "t-own")
	namespace(t, "own-forbidden")
	p := probe(t, "t-own")
	p.NetworkNamespace = nil
	call := foreignCall{Address: socketOf(tester), Parameters: p}

	result := callFrom(t, call, "ip", "netns", "exec", "t-own")
	if result.Error != "" {
		t.Fatal(result.Error)
	}
	stopAtEnd(t, tester, result.Sidecar.ID)
	checkRunning(t, result.Sidecar, p)
	if got := result.Sidecar.Context.NetworkNamespace; got == nil || *got != "t-own" {
		t.Errorf("the context's namespace is %v", got)
	}
	if got, want := namespaceOf(t, int(*result.Sidecar.Runtime.ProcessID), "net"), netnsOf(t, "t-own"); got != want {
		t.Errorf("it runs in %s, want %s", got, want)
	}
	for name, test := range map[string]struct {
		argv []string
		want string
	}{
		"another agent's":    {[]string{"ip", "netns", "exec", "own-forbidden"}, "not allowed"},
		"the host's":         {nil, "not allowed"},
		"one without a name": {[]string{"unshare", "--net"}, "has no name"},
	} {
		if got := callFrom(t, call, test.argv...); !strings.Contains(got.Error, test.want) {
			t.Errorf("%s: error %q, want that it is %s", name, got.Error, test.want)
		}
	}
}

func TestLaunchInTheHostsNamespaceOnlyIfGranted(t *testing.T) {
	begin(t)
	p := probe(t, "")
	p.NetworkNamespace = nil
	s := start(t, onHost, p)
	if got, want := namespaceOf(t, int(*s.Runtime.ProcessID), "net"), namespaceOf(t, os.Getpid(), "net"); got != want {
		t.Errorf("it runs in %s, want the host's %s", got, want)
	}
	refused(t, tester, p, interfaces.ErrNamespaceNotAllowed)
}
