//go:build testhost

package test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func ids(sidecars []interfaces.Sidecar) map[string]bool {
	set := map[string]bool{}
	for _, s := range sidecars {
		set[s.ID] = true
	}
	return set
}

func TestListSelectors(t *testing.T) {
	begin(t)
	namespace(t, "t-one")
	namespace(t, "t-two")
	probe1 := start(t, tester, probe(t, "t-one")).ID
	probe2 := start(t, tester, probe(t, "t-two")).ID
	phoenix := start(t, tester, shaped(t, "phoenix", "t-two")).ID
	other := start(t, limited, probe(t, "t-two")).ID
	operator := at(t, hostSocket)
	for name, test := range map[string]struct {
		selectors interfaces.ListParameters
		agent     bool // asked on the agent's socket, else on the host's
		want      []string
	}{
		"all of an agent":      {interfaces.ListParameters{}, true, []string{probe1, probe2, phoenix}},
		"all":                  {interfaces.ListParameters{}, false, []string{probe1, probe2, phoenix, other}},
		"by agent":             {interfaces.ListParameters{Agent: new(limited)}, false, []string{other}},
		"by profile":           {interfaces.ListParameters{Profile: new("phoenix")}, true, []string{phoenix}},
		"by namespace":         {interfaces.ListParameters{NetworkNamespace: new("t-two")}, true, []string{probe2, phoenix}},
		"by all":               {interfaces.ListParameters{Agent: new(tester), Profile: new("probe"), NetworkNamespace: new("t-two")}, false, []string{probe2}},
		"by ID":                {interfaces.ListParameters{ID: &probe1}, true, []string{probe1}},
		"nothing":              {interfaces.ListParameters{Profile: new("mute")}, true, nil},
		"what is another's":    {interfaces.ListParameters{Agent: new(limited)}, true, nil},
		"by ID and contradict": {interfaces.ListParameters{Profile: new("mute"), NetworkNamespace: new("t-one")}, false, nil},
	} {
		c := operator
		if test.agent {
			c = as(t, tester)
		}
		got, err := c.List(minute(t), test.selectors)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := map[string]bool{}
		for _, id := range test.want {
			want[id] = true
		}
		if diff := cmp.Diff(want, ids(got)); diff != "" || len(got) != len(want) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestListWithoutMore(t *testing.T) {
	begin(t)
	namespace(t, "t-more")
	id := start(t, tester, probe(t, "t-more")).ID
	start(t, tester, probe(t, "t-more"))
	for name, test := range map[string]struct {
		parameters interfaces.ListParameters
		want       string
	}{
		"no selector":        {interfaces.ListParameters{}, "org.varlink.service.ExpectedMore"},
		"several match":      {interfaces.ListParameters{Profile: new("probe")}, "org.varlink.service.ExpectedMore"},
		"one":                {interfaces.ListParameters{ID: &id}, ""},
		"no match":           {interfaces.ListParameters{Profile: new("mute")}, interfaces.Name + ".NoSuchSidecar"},
		"not an ID":          {interfaces.ListParameters{ID: new("../etc")}, "org.varlink.service.InvalidParameter"},
		"somebody else's ID": {interfaces.ListParameters{ID: new("limited.probe.0123456789ab")}, interfaces.Name + ".NoSuchSidecar"},
	} {
		w := dial(t, socketOf(tester), time.Minute)
		if err := w.send(request{Method: interfaces.Name + ".List", Parameters: test.parameters}); err != nil {
			t.Fatal(err)
		}
		if f, err := w.receive(); err != nil || f.Error != test.want || f.Continues {
			t.Errorf("%s: %+v, %v; want %q", name, f, err, test.want)
		}
	}
}

func TestListOverManyConnectionsAtOnce(t *testing.T) {
	begin(t)
	namespace(t, "t-many")
	want := map[string]bool{}
	for range 3 {
		want[start(t, tester, probe(t, "t-many")).ID] = true
	}
	if err := atOnce(20, make([]int, 20), func(int) error {
		for range 25 {
			got, err := as(t, tester).List(minute(t), interfaces.ListParameters{})
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, ids(got)); diff != "" {
				return fmt.Errorf("(-want +got):\n%s", diff)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestListProfilesOfAnAgent(t *testing.T) {
	begin(t)
	names := func(profiles []interfaces.Profile) (names []string) {
		for _, p := range profiles {
			names = append(names, p.Name)
		}
		return names
	}
	granted, err := as(t, neutron).ListProfiles(minute(t), nil)
	if diff := cmp.Diff([]string{"dnsmasq", "haproxy"}, names(granted)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := as(t, neutron).ListProfiles(minute(t), new(tester)); !errors.Is(err, interfaces.ErrNoSuchAgent) {
		t.Errorf("another agent's profiles: %v", err)
	}
	all, err := at(t, hostSocket).ListProfiles(minute(t), nil)
	if err != nil || len(all) != 6+len(profileFiles()) {
		t.Errorf("the host's socket lists %v, %v", names(all), err)
	}
}
