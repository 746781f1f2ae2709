package server

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpoolPrepare(t *testing.T) {
	t.Parallel()
	user := uint32(os.Geteuid())
	if user == 0 {
		user = 4242 // root can give directories away
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "agent")
	self := os.Geteuid()
	want := []string{
		fmt.Sprintf(". %d 0755", self), fmt.Sprintf("claimed %d 0700", self), fmt.Sprintf("refused %d 0700", self),
		fmt.Sprintf("requests %d 0755", self), fmt.Sprintf("requests/new %d 0700", user), fmt.Sprintf("requests/tmp %d 0700", user),
		fmt.Sprintf("results %d 0755", self),
	}
	for _, how := range []string{"new", "again", "spoilt"} {
		if how == "spoilt" {
			must(t, os.Chmod(filepath.Join(dir, "claimed"), 0o777))
			must(t, os.Remove(filepath.Join(dir, "results")))
		}
		must(t, Prepare(parent, "agent", user))
		if diff := cmp.Diff(want, modes(t, dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", how, diff)
		}
	}
}

func modes(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		name, _ := filepath.Rel(dir, path)
		all = append(all, fmt.Sprintf("%s %d %04o", name, info.Sys().(*syscall.Stat_t).Uid, info.Mode().Perm()))
		return nil
	}))
	return all
}

func TestSpoolPrepareRefuses(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"", ".", "..", "a/b", "../x", "A", "-a", "a\n"} {
		if err := Prepare(t.TempDir(), agent, 0); err == nil {
			t.Errorf("%q was taken", agent)
		}
	}
	parent, outside := t.TempDir(), t.TempDir()
	must(t, Prepare(parent, "agent", uint32(os.Geteuid())))
	path := filepath.Join(parent, "agent", "requests/new")
	must(t, os.Remove(path))
	must(t, os.Symlink(outside, path))
	if err := Prepare(parent, "agent", uint32(os.Geteuid())); err == nil {
		t.Error("a link is followed")
	}
	if err := Prepare(filepath.Join(parent, "nothing"), "agent", 0); err == nil {
		t.Error("a parent that is not there was taken")
	}
}
