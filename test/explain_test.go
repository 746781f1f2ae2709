//go:build testhost

package test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestExplainStartsNothingAndSaysWhatLaunchDoes(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	explained, err := as(t, neutron).Explain(minute(t), n.parameters())
	if err != nil {
		t.Fatal(err)
	}
	if got := show(t, explained.Unit, "LoadState"); got != "not-found" {
		t.Errorf("the unit is %s", got)
	}
	if err := checkClean(); err != nil {
		t.Errorf("Explain has left %v", err)
	}
	s := start(t, neutron, n.parameters())
	if s.ID != explained.ID || s.Runtime.Unit != explained.Unit || s.Runtime.Image != explained.Image {
		t.Errorf("launched %s %s %s, explained %s %s %s", s.ID, s.Runtime.Unit, s.Runtime.Image, explained.ID, explained.Unit, explained.Image)
	}
	argv, err := cmdline(int(*s.Runtime.ProcessID))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(explained.Command, argv); diff != "" {
		t.Errorf("command (-explained +running):\n%s", diff)
	}
	compared := 0
	for _, p := range explained.Properties {
		compared += compareProperty(t, s.Runtime.Unit, p)
	}
	if compared < 12 {
		t.Errorf("only %d properties could be compared", compared)
	}
}

// compareProperty holds a property that Explain has named against the unit's. It
// returns 1 if it could.
func compareProperty(t *testing.T, unit string, p interfaces.UnitProperty) int {
	t.Helper()
	switch {
	case strings.HasPrefix(p.Name, "Exec"):
		return compareCommand(t, unit, p)
	case p.Name == "Environment", p.Name == "LogExtraFields":
		return 0 // quoted differently; what they are for is tested elsewhere
	}
	if got := show(t, unit, p.Name); got != p.Value {
		t.Errorf("%s is %q, explained as %q", p.Name, got, p.Value)
	}
	return 1
}

// compareCommand looks for the words of an explained command in the unit's.
func compareCommand(t *testing.T, unit string, p interfaces.UnitProperty) int {
	t.Helper()
	shown := show(t, unit, strings.TrimSuffix(p.Name, "Ex"))
	words := 0
	for word := range strings.FieldsSeq(p.Value) {
		if strings.ContainsAny(word, `"\;`) {
			continue // quoted
		}
		words++
		if !strings.Contains(shown, strings.TrimLeft(word, "-:")) {
			t.Errorf("%s has no %q: %s", p.Name, word, shown)
		}
	}
	if words < 2 {
		t.Errorf("%s is explained as %q", p.Name, p.Value)
	}
	return 1
}

func TestExplainRefusesWhatLaunchRefuses(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	p := n.parameters("--dhcp-script=/bin/sh")
	_, explained := as(t, neutron).Explain(minute(t), p)
	launched := refused(t, neutron, p, interfaces.ErrArgumentNotAllowed)
	if explained == nil || explained.Error() != launched.Error() {
		t.Errorf("Explain: %v; Launch: %v", explained, launched)
	}
}
