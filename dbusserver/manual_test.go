package dbusserver

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// TestDBusManual holds docs/dbus.md to have every name that there is.
func TestDBusManual(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/dbus.md")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[\w-]+`).FindAllString(string(text), -1)
	has := func(name string) {
		t.Helper()
		if !slices.Contains(words, name) {
			t.Errorf("docs/dbus.md does not have %s", name)
		}
	}
	s := New(Config{})
	for _, i := range slices.Concat(s.tables.manager.interfaces[:2], s.tables.sidecar.interfaces[:1]) {
		for _, m := range i.methods {
			has(m.name)
		}
		for _, m := range i.signals {
			has(m.name)
		}
		for _, p := range i.properties {
			has(p.name)
		}
	}
	for _, twin := range twins {
		for _, f := range dict.OptionsOf(twin.parameters, flagName) {
			has(f.Option)
		}
	}
	for _, row := range interfaces.Errors {
		has(row.DBus[strings.LastIndexByte(row.DBus, '.')+1:])
	}
}
