package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
)

// TestPolicyPrivateAndDirectoryHoles shows what the container sees of {path:pid} and
// {dir:rw}.
func TestPolicyPrivateAndDirectoryHoles(t *testing.T) {
	t.Parallel()
	set := withRouter(t)
	for name, test := range map[string]struct {
		profile   string
		arguments []string
		mounts    []document.Mount
		pidFile   string
	}{
		"pid files in a directory of many": {
			"keepalived",
			[]string{"-P", "-f", state + "/ha_confs/r/k.conf", "-p", state + "/ha_confs/r.pid", "-r", state + "/ha_confs/r.vrrp"},
			[]document.Mount{private("ha_confs", false), mount("ha_confs/r", false)},
			"ha_confs/r.pid",
		},
		"a directory with a colon": {
			"dibbler-client",
			[]string{"start", "-w", state + "/pd/r:s:qr-1"},
			[]document.Mount{mount("pd/r:s:qr-1", true)},
			"pd/r:s:qr-1/client.pid",
		},
	} {
		d, err := decideArguments(set, "router", test.profile, "qrouter-r", test.arguments)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.mounts, d.Mounts, withoutGiven); diff != "" {
			t.Errorf("%s: mounts (-want +got):\n%s", name, diff)
		}
		if len(d.PIDFiles) == 0 || d.PIDFiles[0] != file(test.pidFile) {
			t.Errorf("%s: pid files %v", name, d.PIDFiles)
		}
	}
}
