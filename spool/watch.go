package spool

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollAlone is the time between two looks into a directory that the kernel does not
// watch.
const pollAlone = 20 * time.Millisecond

// Watcher watches a directory of a spool for new files.
type Watcher struct {
	inotify *fsnotify.Watcher // nil: the kernel does not watch
}

// Watch begins to watch a directory. A user has 128 inotify instances by default
// (inotify(7)); without one, the Watcher's waits are short.
func Watch(directory string) Watcher {
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		return Watcher{}
	}
	if err := inotify.Add(directory); err != nil {
		_ = inotify.Close()
		return Watcher{}
	}
	return Watcher{inotify}
}

// Close ends the watch.
func (w Watcher) Close() {
	if w.inotify != nil {
		_ = w.inotify.Close()
	}
}

// Wait waits until it is worth looking again: the file (any file if it is "") has
// appeared, wake has a value, limit is over, or ctx has ended.
func (w Watcher) Wait(ctx context.Context, limit time.Duration, file string, wake <-chan struct{}) {
	var events chan fsnotify.Event // nil: no event ever comes
	var overflows chan error
	if w.inotify != nil {
		events, overflows = w.inotify.Events, w.inotify.Errors
	} else {
		limit = min(limit, pollAlone)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-wake:
			return
		case <-overflows: //nolint:errcheck // whatever the error is, it is time to look again
			return
		case event := <-events:
			if event.Has(fsnotify.Create) && (file == "" || file == filepath.Base(event.Name)) {
				return
			}
		}
	}
}
