package interfaces_test

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// TestIDNames shows every name of one sidecar. They are on disks and in other
// people's scripts: a change here breaks them.
func TestIDNames(t *testing.T) {
	t.Parallel()
	id := interfaces.NewID("neutron-dhcp", "dnsmasq", "/var/lib/neutron/dhcp/1/pid")
	// The hash is the beginning of what sha256sum prints for the key.
	got := []string{id.String(), id.Unit(), id.Container()}
	want := []string{
		"neutron-dhcp.dnsmasq.72fb8dd59fa5",
		"sidecar-neutron-dhcp.dnsmasq.72fb8dd59fa5.service",
		"sidecar-neutron-dhcp.dnsmasq.72fb8dd59fa5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if ok, err := path.Match(interfaces.UnitPattern, id.Unit()); !ok || err != nil {
		t.Errorf("the pattern does not match: %v", err)
	}
	parsed, err := interfaces.ParseID(id.String())
	ofUnit, ok := interfaces.ParseUnit(id.Unit())
	if err != nil || !ok || parsed != id || ofUnit != id {
		t.Errorf("%v, %v, %v, %v", parsed, err, ofUnit, ok)
	}
}

// TestIDTellsInstancesApart shows what the ID depends on.
func TestIDTellsInstancesApart(t *testing.T) {
	t.Parallel()
	id := interfaces.NewID("a", "p", "k")
	for _, other := range []interfaces.ID{
		interfaces.NewID("b", "p", "k"), interfaces.NewID("a", "q", "k"), interfaces.NewID("a", "p", "l"), interfaces.NewID("a", "p", ""),
	} {
		if id == other {
			t.Errorf("%v twice", id)
		}
	}
	if id != interfaces.NewID("a", "p", "k") {
		t.Error("not the same again")
	}
}

func TestIDRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "a", "a.b", "a.b.0123456789ab.c", ".b.0123456789ab", "a..0123456789ab", "a.b.0123456789a",
		"a.b.0123456789abc", "a.b.0123456789AB", "a.b.0123456789ag", "A.b.0123456789ab", "-a.b.0123456789ab",
		"a.b_c.0123456789ab", "a/.b.0123456789ab", "a.b.0123456789ab\n", "ä.b.0123456789ab", strings.Repeat("a", 33) + ".b.0123456789ab",
	} {
		if id, err := interfaces.ParseID(s); err == nil {
			t.Errorf("%q is taken for %v", s, id)
		}
		if id, ok := interfaces.ParseUnit("sidecar-" + s + ".service"); ok {
			t.Errorf("%q is taken for %v", s, id)
		}
	}
	for _, unit := range []string{"a.b.0123456789ab.service", "sidecar-a.b.0123456789ab", "sidecar-a.b.0123456789ab.scope", "Sidecar-a.b.0123456789ab.service"} {
		if id, ok := interfaces.ParseUnit(unit); ok {
			t.Errorf("%q is taken for %v", unit, id)
		}
	}
}

// FuzzIDParse shows that what is taken is written the same way again.
func FuzzIDParse(f *testing.F) {
	f.Add("neutron-dhcp.dnsmasq.0123456789ab")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := interfaces.ParseID(s); err == nil && id.String() != s {
			t.Errorf("%q became %q", s, id)
		}
	})
}
