package spool_test

import (
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/spool"
)

func TestSpoolFileNames(t *testing.T) {
	t.Parallel()
	const name = "0123456789abcdef0123456789abcdef"
	if got, ok := spool.ParseFile(spool.File(name)); !ok || got != name {
		t.Errorf("%q, %v", got, ok)
	}
	for _, file := range []string{
		"", ".json", name, name + ".JSON", name[1:] + ".json", name + "0.json", strings.ToUpper(name) + ".json",
		"." + name + ".json", "../" + name + ".json", name + ".json\n", name + "\n.json", name + ".json.json",
		"\xff123456789abcdef0123456789abcdef.json", strings.Repeat("a", 250) + ".json",
	} {
		if got, ok := spool.ParseFile(file); ok {
			t.Errorf("%q is taken for %q", file, got)
		}
	}
}

// FuzzSpoolFileName shows that what is taken is written the same way again, and
// stays in its directory.
func FuzzSpoolFileName(f *testing.F) {
	f.Add("0123456789abcdef0123456789abcdef.json")
	f.Add("../../etc/passwd.json")
	f.Fuzz(func(t *testing.T, file string) {
		name, ok := spool.ParseFile(file)
		if ok && (spool.File(name) != file || filepath.Base(file) != file || len(file) != 37) {
			t.Errorf("%q became %q", file, name)
		}
	})
}
