package launcher

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// removing returns what removes, for a unit of its own.
func removing(t *testing.T) func(ctx context.Context, argv []string) error {
	l := Launcher{Base: t.TempDir() + "/launch"}
	return func(ctx context.Context, argv []string) error { return l.Remove(ctx, testID, argv, nil) }
}

func TestRemoveIsTriedTwiceAndNoMore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		runs   int
		want   string // in the error; "": none
	}{
		"first time":  {"exit 0", 1, ""},
		"second time": {`[ $(wc -l <"$0") = 2 ]`, 2, ""},
		"never":       {"echo why; exit 3", 2, "exit status 3: why"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := t.TempDir() + "/log"
			err := removing(t)(t.Context(), []string{"/bin/sh", "-c", `echo run >>"$0"; ` + test.script, log})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			text, _ := os.ReadFile(log)
			if got := strings.Count(string(text), "run\n"); got != test.runs {
				t.Errorf("run %d times, want %d", got, test.runs)
			}
		})
	}
}

// TestRemoveClearsTheMountPoint that podman says is not empty, and no other directory.
func TestRemoveClearsTheMountPoint(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0a", 32)
	for name, test := range map[string]struct {
		place, says string
		want        bool
	}{
		"second run":      {"overlay/" + hash + "/merged", `replacing mount point "%s"`, true},
		"first run":       {"overlay/" + hash + "/merged", `replacing mount point \"%s\"`, true},
		"older podman":    {"overlay/" + hash + "/merged", `removing mount point "%s"`, true},
		"something else":  {"overlay/" + hash + "/merged", `opening "%s"`, false},
		"no container's":  {"overlay/etc/merged", `replacing mount point "%s"`, false},
		"no storage's":    {"etc/" + hash + "/merged", `replacing mount point "%s"`, false},
		"no mount point":  {"overlay/" + hash + "/diff", `replacing mount point "%s"`, false},
		"not all of it":   {"overlay/" + hash + "/merged/etc", `replacing mount point "%s"`, false},
		"a longer number": {"overlay/0" + hash + "/merged", `replacing mount point "%s"`, false},
		"another way":     {"../" + hash + "/overlay/" + hash + "/merged", `replacing mount point "%s"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/" + test.place
			if err := os.MkdirAll(path+"/proc", 0o700); err != nil {
				t.Fatal(err)
			}
			err := removing(t)(t.Context(), thatSays(test.says, path))
			if (err == nil) != test.want {
				t.Errorf("error %v", err)
			}
			if renamed, _ := filepath.Glob(path + asideMark + "*/proc"); (len(renamed) == 1) != test.want {
				t.Errorf("renamed: %q", renamed)
			}
			if err := os.MkdirAll(path+"/proc", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := removing(t)(t.Context(), thatSays(test.says, path)); (err == nil) != test.want {
				t.Errorf("the second time: error %v", err)
			}
		})
	}
}

// thatSays is a removal that says of a directory that it is not empty, until it does not exist.
func thatSays(format, directory string) []string {
	said := strings.ReplaceAll(format, "%s", directory) + ": directory not empty"
	return []string{"/bin/sh", "-c", `[ -e "$0" ] || exit 0; printf '%s\n' "Error: $1"; exit 125`, directory, said}
}

// TestRemoveLeavesMountsAlone: podman would remove the files of what is mounted.
func TestRemoveLeavesMountsAlone(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	for name, test := range map[string]struct{ below, want string }{
		"on the mount point": {"", "device or resource busy"},
		"below it":           {"/proc", "something is mounted below it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			merged := t.TempDir() + "/overlay/" + strings.Repeat("0a", 32) + "/merged"
			if err := os.MkdirAll(merged+test.below, 0o700); err != nil {
				t.Fatal(err)
			}
			remove := removing(t)
			err := withOwnMounts(func() error {
				if err := unix.Mount("tmpfs", merged+test.below, "tmpfs", 0, ""); err != nil {
					t.Error(err)
				}
				return remove(t.Context(), thatSays(`replacing mount point "%s"`, merged))
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat(merged); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRemoveOfAProgramThatHangs shows that it is given up in time, also when it
// does not want to end and a process of its own holds its output.
func TestRemoveOfAProgramThatHangs(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	err := removing(t)(ctx, []string{"/bin/sh", "-c", `trap "" TERM; echo begun; sleep 60; sleep 60`})
	if took := time.Since(start); took > 30*time.Second || took < limit {
		t.Errorf("took %v", took)
	}
	if err == nil || !strings.Contains(err.Error(), "not done after ") || !strings.HasSuffix(err.Error(), ": begun") {
		t.Errorf("error %v", err)
	}
}

func TestRemoveOfAProgramThatIsNotThere(t *testing.T) {
	t.Parallel()
	if err := removing(t)(t.Context(), []string{"/nonexistent"}); err == nil {
		t.Error("no error")
	}
}

// TestRemoveSetsAside: what cannot be removed gets another name, which is noted instead, so
// that the unit's next launch does not take the note for its own.
func TestRemoveSetsAside(t *testing.T) {
	t.Parallel()
	l := Launcher{Base: t.TempDir() + "/launch"}
	log := t.TempDir() + "/log"
	fails := []string{"/bin/sh", "-c", "exit 3", "name"}
	err := l.Remove(t.Context(), testID, fails, []string{"/bin/sh", "-c", `echo "$0 $1" >` + log, "name"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
	text, _ := os.ReadFile(log)
	from, to, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if from != "name" || !strings.HasPrefix(to, "name-left-") {
		t.Errorf("renamed as %q", text)
	}
	if l.HasLeftover(testID) || !l.HasLeftovers() {
		t.Errorf("noted under the old name: %t, at all: %t", l.HasLeftover(testID), l.HasLeftovers())
	}
	if err := l.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), testID+"-left-") {
		t.Errorf("a sweep: %v", err)
	}
	err = l.Remove(t.Context(), testID, fails, []string{"/bin/false"})
	if err == nil || !strings.Contains(err.Error(), "/bin/false") || !l.HasLeftover(testID) {
		t.Errorf("without a new name: %v, noted: %t", err, l.HasLeftover(testID))
	}
	if err := os.Remove(l.notesDirectory() + "/" + testID); err != nil {
		t.Fatal(err)
	}
	for range maxAside {
		_ = l.Remove(t.Context(), testID, fails, []string{"/bin/true"})
	}
	if n := l.countAside(testID); n != maxAside || !l.HasLeftover(testID) {
		t.Errorf("%d were set aside, want %d at most, and the rest under its own name: %t", n, maxAside, l.HasLeftover(testID))
	}
}

// TestRemoveSetsAsideWithoutANote: what cannot be noted keeps its name, and its old note.
func TestRemoveSetsAsideWithoutANote(t *testing.T) {
	t.Parallel()
	l := Launcher{Base: t.TempDir() + "/launch"}
	n, err := l.takeNote(t.Context(), testID, []string{"/bin/false", "name"})
	if err != nil {
		t.Fatal(err)
	}
	log := t.TempDir() + "/log"
	n.path = t.TempDir() + "/missing/" + testID // a note cannot be made here
	if err := n.setAside(t.Context(), []string{"/bin/false", "name"}, []string{"/usr/bin/touch", log}); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("it was renamed all the same")
	}
	if !l.HasLeftover(testID) {
		t.Error("the old note is gone")
	}
}
