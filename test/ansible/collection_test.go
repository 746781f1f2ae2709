package ansible

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const collection = "../../ansible/"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names returns what the pattern's only group matches in a file, sorted, each once.
func names(t *testing.T, path, pattern string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, path), -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestVariablesOfTheRole(t *testing.T) {
	t.Parallel()
	const role = collection + "roles/sidecar/"
	specified := names(t, role+"meta/argument_specs.yml", `(?m)^      (sidecar_\w+):$`)
	if len(specified) == 0 {
		t.Fatal("no variables")
	}
	if diff := cmp.Diff(specified, names(t, role+"defaults/main.yml", `(?m)^(sidecar_\w+):`)); diff != "" {
		t.Errorf("defaults/main.yml (-argument_specs.yml +defaults):\n%s", diff)
	}
	_, table, _ := strings.Cut(read(t, collection+"README.md"), "## Variables of the role")
	table, _, _ = strings.Cut(table, "\n## ")
	var described []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(sidecar_\\w+)`").FindAllStringSubmatch(table, -1) {
		described = append(described, row[1])
	}
	slices.Sort(described)
	if diff := cmp.Diff(specified, described); diff != "" {
		t.Errorf("README.md (-argument_specs.yml +README.md):\n%s", diff)
	}
}

func TestVariablesOfThePlaybooks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(collection + "playbooks/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("playbooks: %v, %v", files, err)
	}
	var used []string
	for _, file := range files {
		used = append(used, names(t, file, `(sidecar_\w+) \| default`)...)
		used = append(used, names(t, file, `'ansible.builtin.file', (sidecar_\w+)`)...)
	}
	slices.Sort(used)
	_, table, _ := strings.Cut(read(t, collection+"README.md"), "## Variables of the playbooks")
	table, _, _ = strings.Cut(table, "\n## ")
	var described []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(sidecar_\\w+)`").FindAllStringSubmatch(table, -1) {
		described = append(described, row[1])
	}
	slices.Sort(described)
	if diff := cmp.Diff(slices.Compact(used), described); diff != "" {
		t.Errorf("README.md (-playbooks +README.md):\n%s", diff)
	}
}

// The files in testdata have the names of the roles' variables, and the commit at which they were
// read. To renew them, see scripts/ansible-names.
func TestOverridesNameVariablesThatExist(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kolla-ansible", "edpm-ansible"} {
		recorded := read(t, "testdata/"+name+".txt")
		override := collection + "overrides/" + name + ".yml"
		known := strings.Fields(recorded)
		for _, variable := range slices.Concat(
			names(t, override, `(?m)^(\w+):`), // sets
			names(t, override, `\{\{ (\w+) \}\}`),
		) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: %s is no variable of %s", override, variable, known[1])
			}
		}
		if commit := known[2]; !strings.Contains(read(t, override), commit) {
			t.Errorf("%s does not name the commit %s", override, commit)
		}
	}
}
