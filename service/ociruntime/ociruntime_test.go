package ociruntime

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestRuntimeOnTheHost: a program counts only if nobody but root can replace it.
func TestRuntimeOnTheHost(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("files of root are needed")
	}
	first, second := t.TempDir(), t.TempDir()
	for path, mode := range map[string]os.FileMode{
		first + "/text": 0o644, second + "/text": 0o755,
		first + "/shared": 0o775, first + "/open": 0o757, first + "/both": 0o755, second + "/both": 0o755, first + "/others": 0o755,
	} {
		if err := errors.Join(os.WriteFile(path, nil, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(first+"/folder", 0o755), os.Symlink("both", first+"/link"), os.Symlink("nothing", first+"/broken"),
		os.Chown(first+"/others", 42435, 0)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"both": first + "/both", "text": second + "/text", "link": first + "/link",
		"shared": "", "open": "", "others": "", "folder": "", "broken": "", "nothing": "",
		second + "/both": second + "/both", first + "/shared": "", first + "/nothing": "",
	} {
		if got := findIn([]string{first, second}, name); got != want {
			t.Errorf("%s: %q, want %q", filepath.Base(name), got, want)
		}
	}
}
