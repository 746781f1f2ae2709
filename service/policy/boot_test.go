package policy_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// TestPolicyOrderHasNoCircle: a sidecar that waits for itself would never come back.
func TestPolicyOrderHasNoCircle(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after map[string]string // by profile
		want  string            // part of the error; "": none
	}{
		"chain":      {map[string]string{"a": `"b"`, "b": `"c"`, "c": ``}, ""},
		"diamond":    {map[string]string{"a": `"b", "c"`, "b": `"d"`, "c": `"d"`, "d": ``}, ""},
		"circle":     {map[string]string{"a": `"b"`, "b": `"c"`, "c": `"a"`}, `a.toml:7: after[0]: b comes after a already`},
		"beyond":     {map[string]string{"a": `"b"`, "b": `"c"`, "c": `"b"`}, `c.toml:7: after[0]: b comes after c already`},
		"twice":      {map[string]string{"a": `"b", "b"`, "b": ``}, `a.toml:7: after[1]: b is listed twice`},
		"misspelled": {map[string]string{"haproxx": ``, "a": `"haproxy"`}, `profile "haproxy" does not exist (did you mean haproxx?)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for profile, after := range test.after {
				write(t, filepath.Join(dir, "profiles.d", profile+".toml"), goodProfile+"after = ["+after+"]\n")
			}
			_, err := policy.Load(dir)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

func TestPolicyDecideSandbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent+"create-namespaces = [\"x-sb-*\", \"other-*\"]\n")
	write(t, filepath.Join(dir, "agents.d", "b.toml"), goodAgent)
	set := load(t, dir)
	for _, test := range []struct {
		agent, name string
		want        error
	}{
		{"a", "x-sb-1", nil},
		{"a", "x-1", interfaces.ErrNamespaceNotAllowed},
		{"a", "other-1", interfaces.ErrNamespaceNotAllowed}, // its sidecars could not run there
		{"b", "x-sb-1", interfaces.ErrNamespaceNotAllowed},
		{"c", "x-sb-1", interfaces.ErrNoSuchAgent},
	} {
		if _, err := set.DecideSandbox(test.agent, test.name); !errors.Is(err, test.want) {
			t.Errorf("%s, %s: %v, want %v", test.agent, test.name, err, test.want)
		}
	}
}
