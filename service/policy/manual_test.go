package policy

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/internal/mantest"
)

// TestPolicyManualNamesEverything: sidecar-policy(5) explains the keys of both kinds of files and
// the holes, and nothing else, and its examples are right.
func TestPolicyManualNamesEverything(t *testing.T) {
	t.Parallel()
	entries := mantest.Entries(t, "sidecar-policy.5")
	manual := mantest.Text(t, "sidecar-policy.5")
	keys := map[string]bool{}
	for _, raw := range []any{rawProfile{}, rawReady{}, rawHealth{}, rawAgent{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(raw)) {
			key := field.Tag.Get("toml")
			keys[key] = true
			if !entries[key] {
				t.Errorf("the manual does not explain the key %s", key)
			}
		}
	}
	// The keys of these tables are explained in the text of their own key.
	for table, raw := range map[string]any{"limits": rawLimits{}, "configuration": rawConfiguration{}} {
		_, text, _ := strings.Cut(manual, "\n.TP\n.B "+table+"\n")
		text, _, _ = strings.Cut(text, "\n.TP\n")
		for _, field := range reflect.VisibleFields(reflect.TypeOf(raw)) {
			if key := field.Tag.Get("toml"); !regexp.MustCompile(`(?m)^\.BR? .*\b` + key + `\b`).MatchString(text) {
				t.Errorf("the manual does not explain the key %s of %s", key, table)
			}
		}
	}
	for _, name := range holeNames() {
		if !entries[name] {
			t.Errorf("the manual does not explain the hole %s", name)
		}
		keys[name] = true
	}
	for entry := range entries {
		if list := strings.TrimSuffix(entry, ",...}") + "}"; !keys[entry] && !keys[list] && !slices.Contains([]string{"and", "so", "on"}, entry) {
			t.Errorf("the manual explains %s, which does not exist", entry)
		}
	}
	for i, parse := range []func(*report, []byte) bool{
		func(r *report, b []byte) bool { return parseAgent(r, "agent", b) != nil },
		func(r *report, b []byte) bool { return parseProfile(r, "profile", b) != nil },
	} {
		r := &report{}
		if !parse(r, []byte(example(manual, i))) || len(r.problems) > 0 {
			t.Errorf("example %d of the manual: %v", i, r.problems)
		}
	}
}

// example is the i-th block of a file's text.
func example(manual string, i int) string {
	blocks := strings.Split(manual, "\n.nf\n.RS\n")
	text, _, _ := strings.Cut(blocks[i+1], "\n.RE\n")
	return text
}
