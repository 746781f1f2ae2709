package policy

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestPolicyManualNamesEverything holds sidecar-policy(5) to the keys of both kinds
// of files, to the holes, and to an example that must be right.
func TestPolicyManualNamesEverything(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("sidecar-policy.5")
	if err != nil {
		t.Fatal(err)
	}
	manual := strings.ReplaceAll(string(page), `\-`, "-")
	entries := headings(manual)
	for _, raw := range []any{rawProfile{}, rawReady{}, rawHealth{}, rawAgent{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(raw)) {
			if key := field.Tag.Get("toml"); !entries[key] {
				t.Errorf("the manual does not explain the key %s", key)
			}
		}
	}
	for _, name := range holeNames() {
		if !entries[name] {
			t.Errorf("the manual does not explain the hole %s", name)
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

// headings are the words of the lines behind .TP: what the page explains.
func headings(manual string) map[string]bool {
	words := map[string]bool{}
	for _, entry := range strings.Split(manual, "\n.TP\n")[1:] {
		line, _, _ := strings.Cut(entry, "\n")
		for _, word := range strings.Fields(strings.ReplaceAll(line, `"`, " ")) {
			words[strings.Trim(word, ",")] = true
		}
	}
	return words
}

// example is the i-th block of a file's text.
func example(manual string, i int) string {
	blocks := strings.Split(manual, "\n.nf\n.RS\n")
	text, _, _ := strings.Cut(blocks[i+1], "\n.RE\n")
	return text
}
