package interfaces_test

import (
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestDBusPathOfASidecar(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"neutron-dhcp.dnsmasq.0123456789ab": "/io/tripleo/Sidecar1/sidecar/neutron_2ddhcp_2ednsmasq_2e0123456789ab",
		"a.b.ffffffffffff":                  "/io/tripleo/Sidecar1/sidecar/a_2eb_2effffffffffff",
		"7a.9.000000000000":                 "/io/tripleo/Sidecar1/sidecar/_37a_2e9_2e000000000000",
		"0-.0-.000000000000":                "/io/tripleo/Sidecar1/sidecar/_30_2d_2e0_2d_2e000000000000",
	} {
		parsed, err := interfaces.ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed.Path(); got != want {
			t.Errorf("%s: path %s, want %s", id, got, want)
		}
		if got, ok := interfaces.ParsePath(want); !ok || got != parsed {
			t.Errorf("%s: read as %v, %v", want, got, ok)
		}
	}
}

func TestDBusPathOfNothing(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "/", "/io/tripleo/Sidecar1", "/io/tripleo/Sidecar1/sidecar", "/io/tripleo/Sidecar1/sidecar/",
		"/io/tripleo/Sidecar1/sidecar/a_2eb",
		"/io/tripleo/Sidecar1/sidecar/a_2eb_2e00000000000",          // a short hash
		"/io/tripleo/Sidecar1/sidecar/a_2Eb_2e000000000000",         // capitals
		"/io/tripleo/Sidecar1/sidecar/_61_2eb_2e000000000000",       // escaped without need
		"/io/tripleo/Sidecar1/sidecar/7a_2eb_2e000000000000",        // not escaped
		"/io/tripleo/Sidecar1/sidecar/a.b.000000000000",             // not a path at all
		"/io/tripleo/Sidecar1/sidecar/a_2eb_2e000000000000/x",       // below
		"/io/tripleo/Sidecar2/sidecar/a_2eb_2e000000000000",         // another service's
		"/io/tripleo/Sidecar1/sidecar/a_2eb_2e000000000000_2e",      // more parts
		"/io/tripleo/Sidecar1/sidecar/_3",                           // cut
		"/io/tripleo/Sidecar1/sidecar/" + strings.Repeat("a", 1000), // long
	} {
		if id, ok := interfaces.ParsePath(path); ok {
			t.Errorf("%q is taken for the path of %v", path, id)
		}
	}
}

// FuzzDBusPath: every path is the path of one ID at most.
func FuzzDBusPath(f *testing.F) {
	f.Add("/io/tripleo/Sidecar1/sidecar/neutron_2ddhcp_2ednsmasq_2e0123456789ab")
	f.Add("/io/tripleo/Sidecar1/sidecar/_37a_2e9_2e000000000000")
	f.Fuzz(func(t *testing.T, path string) {
		if id, ok := interfaces.ParsePath(path); ok && id.Path() != path {
			t.Errorf("%q is taken for the path of %v, whose path is %q", path, id, id.Path())
		}
	})
}
