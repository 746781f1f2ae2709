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
		"neutron dhcp":     {"qdhcp-4c0a6d3e-53d8-4d0e-9d9e-0f6d0d2b8f6e", ""},
		"one letter":       {"x", ""},
		"all kinds":        {"A.z_0-9", ""},
		"three dots":       {"...", ""},
		"longest":          {strings.Repeat("n", 128), ""},
		"too long":         {strings.Repeat("n", 129), "129 bytes"},
		"empty":            {"", "empty"},
		"dot":              {".", "is a directory"},
		"dot dot":          {"..", "is a directory"},
		"slash":            {"a/b", `'/' at byte 1`},
		"up":               {"../1/ns/net", `'/' at byte 2`},
		"absolute":         {"/proc/1/ns/net", `'/' at byte 0`},
		"space":            {"a b", `' ' at byte 1`},
		"newline":          {"a\n", `'\n' at byte 1`},
		"nul":              {"a\x00", `'\x00' at byte 1`},
		"look-alike dash":  {"qdhcp‐1", "at byte 5"},
		"option separator": {"ns:x", `':' at byte 2`},
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
	for _, s := range []string{"qdhcp-1", "", ".", "..", "a/b", "a\x00", "é", strings.Repeat("a", 129)} {
		f.Add(s)
	}
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	f.Fuzz(func(t *testing.T, name string) {
		good := strings.Trim(name, allowed) == "" && name != "" && len(name) <= 128 && name != "." && name != ".."
		if err := ValidName(name); (err == nil) != good {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	})
}
