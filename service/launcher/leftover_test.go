package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/netns/netnstest"
)

// stubborn returns a launcher, a removal that fails until the file at allowed is there,
// and how often it ran.
func stubborn(t *testing.T) (l Launcher, argv []string, allowed string, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	allowed = dir + "/allowed"
	argv = []string{"/bin/sh", "-c", `echo run >>"$0"; test -e "$1"`, dir + "/log", allowed}
	return Launcher{Base: dir + "/launch"}, argv, allowed, func() int {
		text, _ := os.ReadFile(dir + "/log")
		return strings.Count(string(text), "run\n")
	}
}

// TestHardeningRemovalIsTriedAgain shows that a removal that failed is run by every
// sweep until it works, and then no more.
func TestHardeningRemovalIsTriedAgain(t *testing.T) {
	t.Parallel()
	l, argv, allowed, runs := stubborn(t)
	if err := l.Remove(t.Context(), testID, argv, nil); err == nil || !l.HasLeftover(testID) {
		t.Fatalf("error %v, note %v", err, l.HasLeftover(testID))
	}
	before := runs()
	if err := l.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), testID) || !l.HasLeftover(testID) || runs() != before+2 { // each tries twice
		t.Errorf("a sweep that fails: %v, %d runs", err, runs())
	}
	must(t, os.WriteFile(allowed, nil, 0o600))
	must(t, l.Sweep(t.Context()))
	if l.HasLeftover(testID) || runs() != before+3 {
		t.Errorf("after a sweep that works: note %v, %d runs", l.HasLeftover(testID), runs())
	}
	must(t, l.Sweep(t.Context()))
	must(t, l.Remove(t.Context(), testID, argv, nil))
	if l.HasLeftover(testID) || runs() != before+4 {
		t.Errorf("note %v, %d runs", l.HasLeftover(testID), runs())
	}
}

// TestHardeningRemovalThatWasCutShort is what a kill of the clean-up leaves.
func TestHardeningRemovalThatWasCutShort(t *testing.T) {
	t.Parallel()
	l, argv, allowed, runs := stubborn(t)
	must(t, os.WriteFile(allowed, nil, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Remove(ctx, testID, argv, nil); err == nil {
		t.Error("no error")
	}
	n, err := l.takeNote(t.Context(), testID, argv)
	must(t, err)
	n.unlock() // as the kernel does for a process that is killed
	must(t, l.Sweep(t.Context()))
	if l.HasLeftover(testID) || runs() != 1 {
		t.Errorf("note %v, %d runs", l.HasLeftover(testID), runs())
	}
}

// TestHardeningRemovalAndLaunchTakeTurns: a sweep must not remove what a new launch of
// the same unit has made.
func TestHardeningRemovalAndLaunchTakeTurns(t *testing.T) {
	t.Parallel()
	l, argv, _, runs := stubborn(t)
	n, err := l.takeNote(t.Context(), testID, argv)
	must(t, err)
	if err := l.Sweep(t.Context()); !errors.Is(err, errInUse) || runs() != 0 {
		t.Errorf("a sweep ran what somebody else is running %d times, or forgets it: %v", runs(), err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.deleteNote(short, testID); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "being removed") {
		t.Errorf("a launch during the removal: %v", err)
	}
	freed := make(chan error, 1)
	go func() { freed <- l.deleteNote(t.Context(), testID) }()
	n.unlock()
	must(t, <-freed)
	must(t, l.Sweep(t.Context()))
	if l.HasLeftover(testID) || runs() != 0 {
		t.Errorf("after the launch: note %v, %d runs", l.HasLeftover(testID), runs())
	}
	must(t, l.deleteNote(t.Context(), testID))
}

// TestHardeningRemovalIsNotedAsAWhole: who is killed in the middle must not leave a note
// without a command. A file that is written after it has its name is announced as changed.
func TestHardeningRemovalIsNotedAsAWhole(t *testing.T) {
	t.Parallel()
	l, argv, _, _ := stubborn(t)
	must(t, os.Mkdir(l.notesDirectory(), 0o700))
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, l.notesDirectory(), unix.IN_MODIFY)
	must(t, err)
	for range 2 { // the second time there is one already
		n, err := l.takeNote(t.Context(), testID, argv)
		must(t, err)
		if got, err := n.command(); err != nil || !slices.Equal(got, argv) {
			t.Errorf("command %q, %v", got, err)
		}
		n.unlock()
	}
	buffer := make([]byte, 4096)
	got, _ := unix.Read(fd, buffer) // EAGAIN: there is nothing
	if got > 0 && bytes.Contains(buffer[:got], []byte(testID)) {
		t.Error("the note was there before its command")
	}
	if entries, err := os.ReadDir(l.notesDirectory()); len(entries) != 1 || err != nil {
		t.Errorf("files %v, %v, want the note", entries, err)
	}
}

func TestHardeningRemovalNotesThatAreBroken(t *testing.T) {
	t.Parallel()
	l, argv, _, _ := stubborn(t)
	n, err := l.takeNote(t.Context(), testID, argv)
	must(t, err)
	n.unlock()
	for _, text := range []string{"", "[]", `["sh"]`, `["/bin/sh"`, "{}"} {
		must(t, os.WriteFile(l.notesDirectory()+"/"+testID, []byte(text), 0o600))
		if err := l.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "by hand") {
			t.Errorf("%q: %v", text, err)
		}
	}
	n, err = l.takeNote(t.Context(), testID, argv)
	must(t, err)
	if got, err := n.command(); err != nil || !slices.Equal(got, argv) {
		t.Errorf("the note in the place of a broken one: %q, %v", got, err)
	}
	n.unlock()
	for _, id := range []string{"", "..", "a/b", "../../etc/passwd"} {
		if _, err := l.takeNote(t.Context(), id, argv); err == nil || l.HasLeftover(id) {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

// TestHardeningRemovalWithoutItsProgram: a note whose program is missing, because it is
// being upgraded, is kept.
func TestHardeningRemovalWithoutItsProgram(t *testing.T) {
	t.Parallel()
	l, argv, _, _ := stubborn(t)
	missing := []string{filepath.Dir(l.Base) + "/missing", "first"}
	n, err := l.takeNote(t.Context(), testID, missing)
	must(t, err)
	n.unlock()
	n, err = l.takeNote(t.Context(), testID, argv)
	must(t, err)
	n.unlock()
	text, err := os.ReadFile(n.path)
	must(t, err)
	var got []string
	must(t, json.Unmarshal(text, &got))
	if !slices.Equal(got, missing) {
		t.Errorf("the note has %q, want %q", got, missing)
	}
	if err := l.Sweep(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing[0]) || !l.HasLeftover(testID) {
		t.Errorf("a sweep: %v, note %v", err, l.HasLeftover(testID))
	}
}

// TestHardeningRemovalNotedDuringASweep: systemd does not start the sweep again while it
// runs.
func TestHardeningRemovalNotedDuringASweep(t *testing.T) {
	t.Parallel()
	l, argv, allowed, runs := stubborn(t)
	must(t, os.WriteFile(allowed, nil, 0o600))
	const other = "neutron-dhcp.dnsmasq.ffffffffffff"
	text, err := json.Marshal(argv)
	must(t, err)
	first := []string{"/bin/sh", "-c", `printf %s "$1" >"$0"`, l.notesDirectory() + "/" + other, string(text)}
	n, err := l.takeNote(t.Context(), testID, first)
	must(t, err)
	n.unlock()
	must(t, l.Sweep(t.Context()))
	if l.HasLeftover(testID) || l.HasLeftover(other) || runs() != 1 {
		t.Errorf("notes %v and %v, %d runs", l.HasLeftover(testID), l.HasLeftover(other), runs())
	}
}

// TestHardeningRemovalThatCannotBeNoted has a full file system: what could be removed is
// no failure, and no broken note stays.
func TestHardeningRemovalThatCannotBeNoted(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	l, argv, allowed, _ := stubborn(t)
	must(t, os.Mkdir(l.notesDirectory(), 0o700))
	must(t, unix.Mount("full", l.notesDirectory(), "tmpfs", 0, "size=4k"))
	t.Cleanup(func() { must(t, unix.Unmount(l.notesDirectory(), 0)) })
	must(t, os.WriteFile(l.notesDirectory()+"/.filler", make([]byte, 4096), 0o600))
	if err := l.Remove(t.Context(), testID, argv, nil); err == nil || !strings.Contains(err.Error(), "no space") || l.HasLeftover(testID) {
		t.Errorf("a removal that fails: %v, note %v", err, l.HasLeftover(testID))
	}
	must(t, os.WriteFile(allowed, nil, 0o600))
	if err := l.Remove(t.Context(), testID, argv, nil); err != nil || l.HasLeftover(testID) {
		t.Errorf("a removal that works: %v, note %v", err, l.HasLeftover(testID))
	}
}

// TestLaunchSweepOfPins: a sweep removes pins whose unit does not exist, because its clean-up was
// killed. It leaves other pins and other files.
func TestLaunchSweepOfPins(t *testing.T) {
	t.Parallel()
	base, units := t.TempDir()+"/launch", t.TempDir()
	const ended, running = "a.p.000000000001", "a.p.000000000002"
	for _, name := range []string{ended + "/bundle/points", running + "/bundle", "other"} {
		must(t, os.MkdirAll(filepath.Join(base, name), 0o700))
	}
	must(t, os.Chmod(base, 0o700))
	must(t, os.WriteFile(units+"/sidecar-"+running+".service", nil, 0o644))
	must(t, Launcher{Base: base, Units: units}.Sweep(t.Context()))
	entries, err := os.ReadDir(base)
	must(t, err)
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if diff := cmp.Diff([]string{running, "other"}, left); diff != "" {
		t.Errorf("-want +left:\n%s", diff)
	}
}

// TestFaultOrphanedContainer: a container without a unit and without a note, as power loss leaves
// it, is removed; one whose unit exists is not.
func TestFaultOrphanedContainer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		container string
		exists    bool // its unit
		removed   bool
	}{
		"no unit":            {"sidecar-" + testID, false, true},
		"unit":               {"sidecar-" + testID, true, false},
		"renamed, unit":      {"mine", true, false},
		"set aside, no unit": {"sidecar-" + testID + "-left-x1", false, true},
		"set aside, unit":    {"sidecar-" + testID + "-left-x1", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, argv, allowed, runs := stubborn(t)
			l.Units = t.TempDir()
			must(t, os.WriteFile(allowed, nil, 0o600))
			unit := "sidecar-" + testID + ".service"
			if test.exists {
				must(t, os.WriteFile(l.Units+"/"+unit, nil, 0o600))
			}
			must(t, l.NoteOrphan(t.Context(), testID, test.container, unit, argv))
			must(t, l.Sweep(t.Context()))
			if (runs() == 1) != test.removed || l.HasLeftovers() {
				t.Errorf("%d removals; notes are left: %v", runs(), l.HasLeftovers())
			}
		})
	}
}

// TestFaultOrphanIsLeftToItsRemoval: the note of a removal under way stays as it is.
func TestFaultOrphanIsLeftToItsRemoval(t *testing.T) {
	t.Parallel()
	l, argv, _, runs := stubborn(t)
	l.Units = t.TempDir()
	n, err := l.takeNote(t.Context(), testID, argv)
	must(t, err)
	defer n.unlock()
	must(t, l.NoteOrphan(t.Context(), testID, "sidecar-"+testID, "x.service", argv))
	if !l.HasLeftover(testID) || runs() != 0 {
		t.Errorf("note %v, %d removals", l.HasLeftover(testID), runs())
	}
}

func TestHardeningOrphanWithAHostileName(t *testing.T) {
	t.Parallel()
	l, argv, _, _ := stubborn(t)
	l.Units = t.TempDir()
	for id, name := range map[string]string{"../x": "sidecar-x", testID: "sidecar-" + testID + "-left-/../../x"} {
		if err := l.NoteOrphan(t.Context(), id, name, "x.service", argv); err == nil {
			t.Errorf("a note of %q, %q was written", id, name)
		}
	}
}
