package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/policy"
)

// TestPolicyPrivateAndDirectoryHoles shows what the container sees of {path:pid} and
// {dir:rw}.
func TestPolicyPrivateAndDirectoryHoles(t *testing.T) {
	t.Parallel()
	set := withRouter(t)
	for name, test := range map[string]struct {
		profile   string
		arguments []string
		mounts    []policy.Mount
		pidFile   string
	}{
		"pid files in a directory of many": {
			"keepalived",
			[]string{"-P", "-f", state + "/ha_confs/r/k.conf", "-p", state + "/ha_confs/r.pid", "-r", state + "/ha_confs/r.vrrp"},
			[]policy.Mount{private("ha_confs", false), mount("ha_confs/r", false)},
			"ha_confs/r.pid",
		},
		"a directory with a colon": {
			"dibbler-client",
			[]string{"start", "-w", state + "/pd/r:s:qr-1"},
			[]policy.Mount{mount("pd/r:s:qr-1", true)},
			"pd/r:s:qr-1/client.pid",
		},
	} {
		d, err := decideArguments(set, "router", test.profile, "qrouter-r", test.arguments)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.mounts, d.Mounts, withoutNamed); diff != "" {
			t.Errorf("%s: mounts (-want +got):\n%s", name, diff)
		}
		if len(d.PIDFiles) == 0 || d.PIDFiles[0] != file(test.pidFile) {
			t.Errorf("%s: pid files %v", name, d.PIDFiles)
		}
	}
}

func TestHardeningMountGiven(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mount policy.Mount
		want  bool
	}{
		{policy.Mount{Named: true, Writable: true}, true},
		{policy.Mount{Named: true, Writable: true, Private: true}, false},
		{policy.Mount{Named: true}, false},
		{policy.Mount{Writable: true}, false},
	} {
		if got := test.mount.Given(); got != test.want {
			t.Errorf("%+v: %t, want %t", test.mount, got, test.want)
		}
	}
}
