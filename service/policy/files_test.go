package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyLoadLaterDirectoryWins(t *testing.T) {
	t.Parallel()
	vendor, admin := t.TempDir(), t.TempDir()
	for _, name := range []string{"x", "y", "z"} {
		write(t, filepath.Join(vendor, "profiles.d", name+".toml"), goodProfile)
	}
	write(t, filepath.Join(vendor, "profiles.d", "broken.toml"), "this is replaced")
	write(t, filepath.Join(admin, "profiles.d", "broken.toml"), goodProfile)
	write(t, filepath.Join(admin, "profiles.d", "x.toml"), edit(goodProfile, `image = "localhost/x:2"`))
	write(t, filepath.Join(admin, "profiles.d", "y.toml"), "") // takes the vendor's away
	write(t, filepath.Join(admin, "profiles.d", ".hidden.toml"), "not looked at")
	write(t, filepath.Join(admin, "profiles.d", "z.toml.rpmsave"), "not looked at")
	write(t, filepath.Join(admin, "agents.d", "a.toml"), goodAgent)
	got := map[string]string{}
	for _, p := range load(t, vendor, admin, filepath.Join(admin, "missing")).Profiles() {
		got[p.Name] = p.Image
	}
	want := map[string]string{"broken": "localhost/x:1", "x": "localhost/x:2", "z": "localhost/x:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPolicyLoadRefusesFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		file string
		make func(t *testing.T, file string)
		want string
	}{
		{"writable by others", "x.toml", func(t *testing.T, file string) { chmod(t, file, 0o646) }, "may be written by others (mode 0646)"},
		{"writable by a group", "x.toml", func(t *testing.T, file string) { chmod(t, file, 0o664) }, "may be written by others (mode 0664)"},
		{"bad name", "X.toml", func(*testing.T, string) {}, `"X" is not a name`},
		{"directory", "x.toml", func(t *testing.T, file string) { replace(t, file, func() error { return os.Mkdir(file, 0o755) }) }, "is not a regular file"},
		{"fifo", "x.toml", func(t *testing.T, file string) { replace(t, file, func() error { return mkfifo(file) }) }, "is not a regular file"},
		{"device", "x.toml", func(t *testing.T, file string) {
			replace(t, file, func() error { return os.Symlink("/dev/zero", file) })
		}, "is not a regular file"},
		{"dangling", "x.toml", func(t *testing.T, file string) { replace(t, file, func() error { return os.Symlink("nowhere", file) }) }, "no such file"},
		{"huge", "x.toml", func(t *testing.T, file string) { write(t, file, strings.Repeat("#\n", 200_000)) }, "is larger than 262144 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "profiles.d", test.file)
			write(t, file, goodProfile)
			test.make(t, file)
			wantProblem(t, dir, file+":1: file: "+test.want)
		})
	}
}

func TestPolicyLoadRefusesDirectoryThatOthersWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	chmod(t, filepath.Join(dir, "profiles.d"), 0o777)
	wantProblem(t, dir, filepath.Join(dir, "profiles.d")+":1: directory: may be written by others (mode 0777)")
}
