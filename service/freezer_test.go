package service

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A Freezer keeps what can be read, and never more than maxOpen files.
func TestFreezerKeepsWhatCanBeRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cgroup.events")
	if err := os.WriteFile(file, []byte("populated 1\nfrozen 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &Freezer{}
	defer func() {
		for invocation := range f.files {
			f.drop(invocation)
		}
	}()
	open := func(invocation, path string) {
		t.Helper()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.keep(invocation, fd)
	}
	open("present", file)
	for i := range 5 * minSweep { // a directory cannot be read, as the file of a removed group
		open(fmt.Sprint("removed ", i), t.TempDir())
	}
	if len(f.files) > minSweep {
		t.Errorf("%d files are open, of which one can be read", len(f.files))
	}
	if !f.Frozen("present", 0) {
		t.Error("the file of a group that exists was dropped, or is not seen as frozen")
	}
	if f.Frozen("removed 319", 0) || f.files["removed 319"] != 0 {
		t.Error("a removed group is frozen, or still open")
	}
}
