package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShimSettingsAreReadFromTheFile(t *testing.T) {
	t.Parallel()
	got, err := parseSettings("spool = \"/s\"\nprograms = [\"/a\", \"/b\"]\n")
	want := defaults()
	want.Spool, want.Programs = "/s", []string{"/a", "/b"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "\n", "# nothing\n"} {
		if got, err := parseSettings(text); err != nil || cmp.Diff(defaults(), got) != "" {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestShimSettingsThatAreWrongAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"addr = \"x\"":                 `line 1: no such key: "addr"; there are address, spool and programs`,
		"\n[more]\nx = 1":              `no such key: "more`,
		"address = 1":                  "line 1: ",
		"address = \"x":                "line 1: ",
		"address=\"a\"\naddress=\"b\"": "address",
	} {
		if _, err := parseSettings(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestShimSettingsFileIsNamedInItsErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "shim.toml")
	if _, err := readSettings(path); err != nil {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{"x = 1": path + ": line 1: ", "spool = \"s\"": `"s" is not an absolute path`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSettings(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestShimSettingsInTheEnvironmentWin(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"SIDECAR_ADDRESS": "/a", "SIDECAR_SPOOL": "/s", "SIDECAR_PROGRAMS": "/p:/q"}
	lookup := func(name string) (string, bool) { v, ok := environment[name]; return v, ok }
	want := settings{Address: "/a", Spool: "/s", Programs: []string{"/p", "/q"}}
	if diff := cmp.Diff(want, defaults().withEnvironment(lookup)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	none := func(string) (string, bool) { return "", true }
	if diff := cmp.Diff(defaults(), defaults().withEnvironment(none)); diff != "" {
		t.Errorf("empty variables (-want +got):\n%s", diff)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("address = \"unix:/x\"\nspool = \"/s\"\nprograms = [\"/a\"]")
	f.Add("[x]\ny = {z = 1}")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSettings(text)
		if err != nil && cmp.Diff(settings{}, s) != "" {
			t.Errorf("%q: an error, and settings too", text)
		}
	})
}
