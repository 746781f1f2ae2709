package netns

import (
	"strings"
	"testing"
)

func TestNetnsNameIsOneHarmlessComponent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		name, want string // want is part of the error, "" for none
	}{
		"neutron dhcp":  {"qdhcp-4c0a6d3e-53d8-4d0e-9d9e-0f6d0d2b8f6e", ""},
		"one letter":    {"x", ""},
		"all kinds":     {"A.z_0-9", ""},
		"three dots":    {"...", ""},
		"longest":       {strings.Repeat("n", 255), ""},
		"too long":      {strings.Repeat("n", 256), "256 bytes"},
		"empty":         {"", "empty"},
		"dot":           {".", "is a directory"},
		"dot dot":       {"..", "is a directory"},
		"slash":         {"a/b", "'/'"},
		"up":            {"../1/ns/net", "'/'"},
		"absolute":      {"/proc/1/ns/net", "'/'"},
		"nul":           {"a\x00", "null byte"},
		"what ip takes": {"a b\n@:‐", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ValidName(test.name)
			if test.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func FuzzNetnsName(f *testing.F) {
	for _, s := range []string{"qdhcp-1", "", ".", "..", "a/b", "a\x00", "é", strings.Repeat("a", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		good := !strings.ContainsAny(name, "/\x00") && name != "" && len(name) <= 255 && name != "." && name != ".."
		if err := ValidName(name); (err == nil) != good {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	})
}
