package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// pollAlone is the time between two looks for the result if the kernel does
	// not tell of it, pollBeside if it does: then a look is for what got lost.
	pollAlone  = 20 * time.Millisecond
	pollBeside = 500 * time.Millisecond
)

var errGaveUp = errors.New("gave up")

// watch looks for one result.
type watch struct {
	request request
	watcher *fsnotify.Watcher // nil: there is none to be had
}

// watch begins to look for the result. A user has but 128 inotify instances by
// default (inotify(7)), so that one of hundreds of callers may have to do without.
func (r request) watch() (watch, error) {
	results := filepath.Join(r.directory, Results)
	if _, err := os.Stat(results); err != nil {
		return watch{}, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return watch{r, nil}, nil
	}
	if err := watcher.Add(results); err != nil {
		_ = watcher.Close()
		return watch{r, nil}, nil
	}
	return watch{r, watcher}, nil
}

func (w watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}

// wait returns the result when it is there, or errGaveUp at the end of ctx.
func (w watch) wait(ctx context.Context) ([]byte, error) {
	every := pollBeside
	if w.watcher == nil {
		every = pollAlone
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		result, err := w.request.result()
		if !errors.Is(err, fs.ErrNotExist) {
			return result, err
		}
		if !w.next(ctx, tick.C) {
			return nil, errGaveUp
		}
	}
}

// next waits until it is worth to look for the result again. It returns false at
// the end of ctx.
func (w watch) next(ctx context.Context, tick <-chan time.Time) bool {
	var events chan fsnotify.Event // nil: none ever comes
	var overflows chan error
	if w.watcher != nil {
		events, overflows = w.watcher.Events, w.watcher.Errors
	}
	path := w.request.path(Results)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case <-overflows: //nolint:errcheck // whatever it is, it is time to look again
			return true
		case event := <-events:
			if event.Name == path {
				return true
			}
		}
	}
}

// result reads the result. It is fs.ErrNotExist as long as there is none.
func (r request) result() ([]byte, error) {
	f, err := os.OpenFile(r.path(Results), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxResult+1))
	if len(text) > MaxResult {
		return nil, fmt.Errorf("%w: a result of more than %d bytes", ErrProtocol, MaxResult)
	}
	return text, err
}
