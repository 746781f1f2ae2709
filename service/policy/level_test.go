package policy_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tripleo.io/sidecar/service/policy"
)

// withLevels loads a policy with one agent for each line of levels, "name = level"; an
// empty level is none.
func withLevels(t *testing.T, levels map[string]string) (*policy.Set, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	for name, level := range levels {
		text := fmt.Sprintf("profiles = [\"x\"]\nnetwork-namespaces = [\"x-*\"]\nstate-directories = [\"/srv/%s\"]\n", name)
		if level != "" {
			text += fmt.Sprintf("selinux-level = %q\n", level)
		}
		write(t, filepath.Join(dir, "agents.d", name+".toml"), text)
	}
	return policy.Load(dir)
}

// TestLevelOfAnAgent shows that an agent's level is always the same, since files carry
// it, and that agents have different ones.
func TestLevelOfAnAgent(t *testing.T) {
	t.Parallel()
	names := map[string]string{"neutron-dhcp": ""}
	for i := range 300 {
		names[fmt.Sprintf("agent-%d", i)] = ""
	}
	set, err := withLevels(t, names)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := set.Agent("neutron-dhcp"); a.SELinuxLevel != "s0:c187,c991" {
		t.Errorf("%s: the files of every host carry another one", a.SELinuxLevel)
	}
	form := regexp.MustCompile(`^s0:c([0-9]+),c([0-9]+)$`)
	seen := map[string]bool{}
	for _, a := range set.Agents() {
		if m := form.FindStringSubmatch(a.SELinuxLevel); m == nil || m[1] == m[2] {
			t.Fatalf("%s", a.SELinuxLevel)
		}
		seen[a.SELinuxLevel] = true
	}
	if len(seen) < len(names)-1 {
		t.Errorf("%d agents have %d levels", len(names), len(seen))
	}
}

func TestLevelIsChecked(t *testing.T) {
	t.Parallel()
	for level, ok := range map[string]bool{
		"s0:c1,c2": true, "s0:c0,c1023": true, "s0:c1.c3": true, "s0:c7": true, "s0:c1.c3,c9": true, "s0:c2,c1": true,
		"s0:c3.c1": false, "s0:c1.c2.c3": false, "s0:c1.c1": false, "s0:c1.c1024": false,
		"s0": false, "x": false, "s1:c1": false, "s0:c1024": false, "s0:c1,": false, "s0:c1 ,c2": false,
		"s0:c1,c2,type=x": false, "s0-s0:c1": false, "s0:c99999999999999999999": false, "S0:c1": false, "s0:c1\n": false,
	} {
		_, err := withLevels(t, map[string]string{"a": level})
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "a.toml:4: selinux-level: ") {
			t.Errorf("%q: %v", level, err)
		}
	}
}

// TestLevelIsTheKernels shows that a level is written as the kernel writes it, since a
// denial is told by it.
func TestLevelIsTheKernels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{
		"s0:c2,c1": "s0:c1,c2", "s0:c1,c2,c3": "s0:c1.c3", "s0:c1.c2": "s0:c1,c2", "s0:c01": "s0:c1",
		"s0:c0.c1023": "s0:c0.c1023", "s0:c9,c5.c7,c6": "s0:c5.c7,c9",
	} {
		set, err := withLevels(t, map[string]string{"a": level})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := set.Agent("a"); a.SELinuxLevel != want {
			t.Errorf("%s: %s, want %s", level, a.SELinuxLevel, want)
		}
	}
}

func TestLevelOfTwoAgents(t *testing.T) {
	t.Parallel()
	set, err := withLevels(t, map[string]string{"a": "s0:c1,c2", "b": "s0:c2,c1", "c": "s0:c1,c3", "d": "s0:c0.c9"})
	if err != nil {
		t.Fatal(err)
	}
	warnings := set.Warnings()
	if len(warnings) != 3 || !strings.Contains(warnings[0], "a.toml:4: selinux-level: ") || !strings.Contains(warnings[1], "sidecars of a,") || !strings.Contains(warnings[2], "sidecars of a, b, c,") {
		t.Errorf("%q, want one warning each for a, b and d", warnings)
	}
}
