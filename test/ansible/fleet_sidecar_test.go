//go:build testhost

package ansible

import (
	"encoding/json"
	"fmt"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func pidFile(name string) string { return "/var/lib/tester/" + name + "/pid" }

// launch starts a sidecar as the agent does, over its own socket.
func (n *node) launch(t *testing.T, name string) {
	t.Helper()
	n.run(t, "mkdir", "-p", "/var/lib/tester/"+name)
	n.run(t, "sidecarctl", "--address=unix:/run/sidecar/agents/tester/io.tripleo.Sidecar",
		"launch", "probe", "--netns=t-1", "--", "--pid-file="+pidFile(name))
}

func (n *node) id(t *testing.T, name string) string {
	t.Helper()
	return interfaces.NewID("tester", "probe", pidFile(name)).String()
}

// identity changes when a sidecar is started again.
func (n *node) identity(t *testing.T, name string) string {
	t.Helper()
	var s interfaces.Sidecar
	out := n.run(t, "sidecarctl", "show", n.id(t, name), "--output=json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%s: %v\n%s", n.name, err, out)
	}
	if s.Runtime.ProcessID == nil || s.Runtime.InvocationID == nil {
		t.Fatalf("%s: %s has no process:\n%s", n.name, name, out)
	}
	return fmt.Sprint(*s.Runtime.InvocationID, " ", *s.Runtime.ProcessID)
}

// checkVersion checks the version of the tool and of the service that runs.
func (n *node) checkVersion(t *testing.T, want string) {
	t.Helper()
	var v struct {
		Sidecarctl string
		Service    struct{ Version string }
	}
	out := n.run(t, "sidecarctl", "version", "--output=json")
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%s: %v\n%s", n.name, err, out)
	}
	if v.Sidecarctl != want || v.Service.Version != want {
		t.Errorf("%s: the tool is %s, the service that runs %s, want %s", n.name, v.Sidecarctl, v.Service.Version, want)
	}
}
