package spool

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSpoolWatcherWaits shows what ends a wait, with and without inotify.
func TestSpoolWatcherWaits(t *testing.T) {
	t.Parallel()
	const long, file = time.Minute, "file"
	dir := t.TempDir()
	watched := Watch(dir)
	defer watched.Close()
	wake := make(chan struct{}, 1)
	create := func(name string) func() {
		return func() { _ = os.WriteFile(filepath.Join(dir, name), nil, 0o600) }
	}
	for _, c := range []struct {
		name  string
		w     Watcher
		limit time.Duration
		file  string
		then  func()
	}{
		{"the file", watched, long, file, create(file)},
		{"any file", watched, long, "", create("other")},
		{"the limit", watched, time.Millisecond, "absent", func() {}},
		{"woken", watched, long, "absent", func() { wake <- struct{}{} }},
		{"not watched", Watcher{}, long, file, func() {}},
		{"no such directory", Watch(filepath.Join(dir, "none")), long, file, func() {}},
	} {
		began := time.Now()
		c.then()
		if c.w.Wait(t.Context(), c.limit, c.file, wake); time.Since(began) > long/2 {
			t.Errorf("%s: waited %v", c.name, time.Since(began))
		}
	}
	Watcher{}.Close()
}
