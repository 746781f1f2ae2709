package drain

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"tripleo.io/sidecar/spool"
)

// arrivals tells of new files in requests/new.
type arrivals struct{ watcher *fsnotify.Watcher } // nil: there is none to be had

// watch begins to watch. It is only to look sooner: what the name of the directory
// leads to does not matter.
func watch(directory string) arrivals {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return arrivals{}
	}
	if err := watcher.Add(filepath.Join(directory, spool.New)); err != nil {
		_ = watcher.Close()
		return arrivals{}
	}
	return arrivals{watcher}
}

func (a arrivals) close() {
	if a.watcher != nil {
		_ = a.watcher.Close()
	}
}

// wait waits until it is worth to look again: something was moved in, a call has
// ended, or limit is over.
func (a arrivals) wait(ctx context.Context, ended <-chan struct{}, limit time.Duration) {
	var events chan fsnotify.Event // nil: none ever comes
	var overflows chan error
	if a.watcher != nil {
		events, overflows = a.watcher.Events, a.watcher.Errors
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
		case <-ended:
			return
		case <-overflows: //nolint:errcheck // whatever it is, it is time to look again
			return
		case event := <-events:
			if event.Has(fsnotify.Create) {
				return
			}
		}
	}
}
