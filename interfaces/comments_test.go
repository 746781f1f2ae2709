package interfaces_test

import (
	"regexp"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

var (
	declaration = regexp.MustCompile(`^(interface|type|method|error) ([A-Za-z.]+)`)
	member      = regexp.MustCompile(`^  ([a-z][A-Za-z]*)(:|,|$)`)
)

// TestContractComments shows that every interface, type, method, error, field and
// value has a comment right above it, which says more than its name. A comment
// that equals a type's name would also break systemd's parser.
func TestContractComments(t *testing.T) {
	t.Parallel()
	above, found := "", 0
	for number, line := range strings.Split(interfaces.Description, "\n") {
		name := ""
		if m := declaration.FindStringSubmatch(line); m != nil {
			name = m[2]
		} else if m := member.FindStringSubmatch(line); m != nil {
			name = m[1]
		}
		if name != "" {
			found++
			comment := strings.TrimSpace(strings.TrimPrefix(above, "#"))
			if !strings.HasPrefix(above, "#") || comment == "" || strings.EqualFold(comment, name) {
				t.Errorf("line %d: %s has no comment", number+1, name)
			}
		}
		above = strings.TrimSpace(line)
	}
	if fields := strings.Count(interfaces.Description, ": "); found < 50 {
		t.Errorf("only %d names were found, there are about %d fields", found, fields)
	}
}

// TestContractSaysMore shows that the methods that can answer more than once say
// so in systemd's words.
func TestContractSaysMore(t *testing.T) {
	t.Parallel()
	flags := map[string]string{
		"List": "[Supports 'more' flag]", "ListProfiles": "[Supports 'more' flag]", "Monitor": "[Requires 'more' flag]",
		"ReadLog": "[Requires 'more' flag]",
	}
	for _, method := range contract(t).Methods {
		want := flags[method.Name]
		if says := strings.Contains(method.Doc, "'more' flag]"); says != (want != "") || !strings.Contains(method.Doc, want) {
			t.Errorf("%s: want %q in %q", method.Name, want, method.Doc)
		}
	}
}
