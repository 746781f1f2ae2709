// Package mantest compares manual pages with what programs take, for tests.
package mantest

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// Entries returns the words in the headings of a page's lists (the lines behind .TP).
func Entries(t testing.TB, file string) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	for _, entry := range strings.Split(Text(t, file), "\n.TP\n")[1:] {
		heading, _, _ := strings.Cut(entry, "\n")
		for _, word := range strings.Fields(strings.ReplaceAll(heading, `"`, " "))[1:] { // the first is .B
			if word = strings.Trim(word, ","); word != "" {
				words[word] = true
			}
		}
	}
	return words
}

// Text returns a page with plain hyphens.
func Text(t testing.TB, file string) string {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(page), `\-`, "-")
}

// Options fails the test unless the page explains all options of a program, and no others.
func Options(t testing.TB, file string, flags *flag.FlagSet) {
	t.Helper()
	entries := Entries(t, file)
	flags.VisitAll(func(f *flag.Flag) {
		if !entries["-"+f.Name] {
			t.Errorf("%s does not explain -%s", file, f.Name)
		}
	})
	for entry := range entries {
		if name, ok := strings.CutPrefix(entry, "-"); ok && flags.Lookup(name) == nil {
			t.Errorf("%s explains -%s, which does not exist", file, name)
		}
	}
}
