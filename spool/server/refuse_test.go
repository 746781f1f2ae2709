package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

// later is a server whose clock is ahead.
func later(t *testing.T, dir string, ahead time.Duration) *server {
	t.Helper()
	d, err := newServer(quick(dir, newFake()))
	must(t, err)
	t.Cleanup(d.tree.close)
	d.now = func() time.Time { return time.Now().Add(ahead) }
	return d
}

func TestSpoolTidyTemporary(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	live := put(t, dir, spool.Temporary, "live", "x")
	put(t, dir, spool.Temporary, "dead", "x")
	must(t, unix.Mkfifo(filepath.Join(dir, spool.Temporary, "fifo"), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, spool.Temporary, "directory/x"), 0o700))
	must(t, os.Symlink(live, filepath.Join(dir, spool.Temporary, "link")))
	lock := flock.New(live)
	if ok, err := lock.TryLock(); !ok {
		t.Fatal(err)
	}
	defer lock.Close()
	later(t, dir, 0).tidy()
	if got := entries(t, dir, spool.Temporary); len(got) != 5 {
		t.Errorf("young files are gone, left are %q", got)
	}
	later(t, dir, 2*spool.MaxAge).tidy()
	if diff := cmp.Diff([]string{"live"}, entries(t, dir, spool.Temporary)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if got := reasons(t, dir); len(got) != 3 {
		t.Errorf("reasons %q", got)
	}
	lock.Close()
	later(t, dir, 2*spool.MaxAge).tidy()
	if got := entries(t, dir, spool.Temporary); len(got) != 0 {
		t.Errorf("the writer has died, left is %q", got)
	}
}

func TestSpoolTidyResults(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	d := later(t, dir, 0)
	for i := range resultCount + 10 {
		d.answer(nameOf(i), spool.Reply{})
	}
	d.tidy()
	if got := len(entries(t, dir, spool.Results)); got != resultCount {
		t.Errorf("%d results are kept, want %d", got, resultCount)
	}
	if resultOf(t, dir, nameOf(resultCount+9)) == nil {
		t.Error("the newest is gone")
	}
	later(t, dir, resultAge-10*time.Second).tidy()
	if got := len(entries(t, dir, spool.Results)); got != resultCount {
		t.Errorf("%d results are kept although they are young", got)
	}
	later(t, dir, resultAge+time.Second).tidy()
	if got := entries(t, dir, spool.Results); len(got) != 0 {
		t.Errorf("%d old results are kept", len(got))
	}
}

func TestSpoolTidyLargeResults(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	for i := range 10 {
		path := put(t, dir, spool.Results, spool.File(nameOf(i)), "")
		must(t, os.Truncate(path, spool.MaxResult))
		then := time.Now().Add(-time.Duration(i) * time.Second)
		must(t, os.Chtimes(path, then, then))
	}
	later(t, dir, 0).tidy()
	want := []string{spool.File(nameOf(0)), spool.File(nameOf(1)), spool.File(nameOf(2)), spool.File(nameOf(3))}
	if diff := cmp.Diff(want, entries(t, dir, spool.Results)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestSpoolServerLogsOnlySoMuch: how much there is to tell is the agent's choice, who
// can fill the disk.
func TestSpoolServerLogsOnlySoMuch(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	d := later(t, dir, 0)
	var log strings.Builder
	d.Logger = slog.New(slog.NewTextHandler(&log, nil))
	must(t, os.RemoveAll(filepath.Join(dir, spool.Results)))
	for i := range 3 * maxLogged {
		d.answer(nameOf(i), spool.Reply{})
	}
	if got := strings.Count(log.String(), "\n"); got != maxLogged {
		t.Errorf("%d lines are logged, want %d", got, maxLogged)
	}
}
