package testhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a lock that another run holds is asked for again.
const lockPoll = 200 * time.Millisecond

// makeOnce returns the directory called name in the cache. When it is not
// there, build fills a new one, which gets its name only when it is complete.
// A lock keeps two runs from building the same.
func (c Config) makeOnce(ctx context.Context, name string, build func(dir string) error) (string, error) {
	final := filepath.Join(c.CacheDir, name)
	if exists(final) {
		return final, nil
	}
	if err := os.MkdirAll(c.CacheDir, 0o755); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(final) {
		return final, nil
	}
	partial := final + ".partial"
	if err := removeTree(partial); err != nil {
		return "", err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", err
	}
	if err := build(partial); err != nil {
		return "", errors.Join(fmt.Errorf("make %s: %w", name, err), removeTree(partial))
	}
	return final, os.Rename(partial, final)
}

// lock takes the named lock of the cache and returns its release. It says so
// when it has to wait.
func (c Config) lock(ctx context.Context, name string) (unlock func(), err error) {
	lock := flock.New(filepath.Join(c.CacheDir, name+".lock"))
	taken, err := lock.TryLock()
	if err == nil && !taken {
		c.logf("waiting for another run that holds %s", lock.Path())
		_, err = lock.TryLockContext(ctx, lockPoll)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Path(), err)
	}
	return func() { _ = lock.Close() }, nil
}

// exists tells whether there is anything at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
