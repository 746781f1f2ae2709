package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const definition = "../../interfaces/io.tripleo.Sidecar.varlink"

// made makes a page as make build does.
func made(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(args, &out); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), `\-`, "-")
}

// TestPagesNameEverything: every word of the definitions that is a name is on the pages.
func TestPagesNameEverything(t *testing.T) {
	t.Parallel()
	page := made(t, "varlink", definition)
	text, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		words := strings.Fields(strings.Trim(line, " ,("))
		switch {
		case strings.HasPrefix(line, "type ") || strings.HasPrefix(line, "method ") || strings.HasPrefix(line, "error "):
			if name := strings.TrimRight(words[1], "("); !strings.Contains(page, ".SS "+name+"\n") {
				t.Errorf("the page has no section %s", name)
			}
		case strings.HasPrefix(line, "  #"):
			if said := strings.TrimPrefix(line, "  # "); !strings.Contains(page, said) {
				t.Errorf("the page does not say %q", said)
			}
		case strings.HasPrefix(line, "  "):
			if name := strings.TrimRight(words[0], ":"); !strings.Contains(page, ".B "+name) {
				t.Errorf("the page has no member %s", name)
			}
		}
	}
	files, err := filepath.Glob("../../dbusserver/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	page = made(t, append([]string{"dbus", definition}, files...)...)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for element, form := range map[string]string{"method": ".SS %s()\n", "signal": ".B %s ", "property": ".B %s ", "arg": "%s ("} {
			for _, rest := range strings.Split(string(text), "<"+element+` name="`)[1:] {
				name, _, _ := strings.Cut(rest, `"`)
				if !strings.Contains(page, fmt.Sprintf(form, name)) {
					t.Errorf("the page has no %s %s", element, name)
				}
			}
		}
	}
}

func TestDefinitionsThatAreNotUnderstood(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "no interface",
		"interface a.b\n\ntype T (a: int)\n": "line 3",
		"interface a.b\nsomething\n":         "line 2",
		"interface a.b\n\n  field: int\n":    "line 3",
	} {
		if _, err := parseVarlink(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestTextIsNoMacro: a comment that begins with a dot, or has a backslash, is shown as it is.
func TestTextIsNoMacro(t *testing.T) {
	t.Parallel()
	p := &page{}
	p.text(".SH no\n'br\n\\fB a-b")
	if got, want := p.String(), "\\&.SH no\n\\&'br\n\\efB a\\-b\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
