package testhost

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mountTable = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate
40 22 0:33 / /mnt/a\040b rw master:3 propagate_from:2 - tmpfs tmpfs rw
a line that is none
41 22 0:34 / /mnt/c rw
`

func TestMountTableIsParsed(t *testing.T) {
	t.Parallel()
	want := []mountEntry{{"/", "ext4"}, {"/sys/fs/cgroup", "cgroup2"}, {"/mnt/a b", "tmpfs"}}
	got := parseMounts(mountTable)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mountEntry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(mountTable)
	f.Fuzz(func(t *testing.T, table string) {
		for _, entry := range parseMounts(table) {
			if entry.point == "" || entry.fsType == "" {
				t.Errorf("empty field in %+v", entry)
			}
		}
	})
}

func TestMountsBelowTakesWholeNames(t *testing.T) {
	t.Parallel()
	// /proc is mounted everywhere; /pro is only a prefix of its name.
	if points, err := mountsBelow("/proc"); err != nil || len(points) == 0 || points[0] != "/proc" {
		t.Errorf("below /proc: %v, %v", points, err)
	}
	if points, err := mountsBelow("/pro"); err != nil || len(points) != 0 {
		t.Errorf("below /pro: %v, %v", points, err)
	}
}

func TestRemoveTreeRemovesAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := writeFile(dir, "a/b", strings.Repeat("x", 10), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}
