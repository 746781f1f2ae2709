package testhost

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCacheMakesOnce(t *testing.T) {
	t.Parallel()
	c := Config{CacheDir: t.TempDir(), Log: io.Discard}
	var builds atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			dir, err := c.makeOnce(t.Context(), "thing", func(dir string) error {
				builds.Add(1)
				time.Sleep(20 * time.Millisecond)
				return writeFile(dir, "f", "x", 0o600)
			})
			if err != nil || !exists(filepath.Join(dir, "f")) {
				t.Errorf("incomplete %q: %v", dir, err)
			}
		})
	}
	group.Wait()
	if builds.Load() != 1 {
		t.Errorf("%d builds, want 1", builds.Load())
	}
}

func TestCacheKeepsNothingOfAFailure(t *testing.T) {
	t.Parallel()
	c := Config{CacheDir: t.TempDir(), Log: io.Discard}
	_, err := c.makeOnce(t.Context(), "thing", func(dir string) error {
		return errors.Join(writeFile(dir, "half", "x", 0o600), errors.New("no mirror"))
	})
	if err == nil || !strings.Contains(err.Error(), "no mirror") {
		t.Errorf("error %v does not say why", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.CacheDir, "thing*"))
	if len(left) != 1 || !strings.HasSuffix(left[0], ".lock") {
		t.Errorf("left behind: %q", left)
	}
}

func TestCacheReplacesAPartialBuild(t *testing.T) {
	t.Parallel()
	c := Config{CacheDir: t.TempDir(), Log: io.Discard}
	if err := writeFile(c.CacheDir, "thing.partial/old", "x", 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := c.makeOnce(t.Context(), "thing", func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(dir, "old")) {
		t.Error("a crashed build's file is in the finished directory")
	}
}

func TestCacheLockWaitEndsWithContext(t *testing.T) {
	t.Parallel()
	c := Config{CacheDir: t.TempDir(), Log: io.Discard}
	unlock, err := c.lock(t.Context(), "thing")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := contextWithTimeout(t, 50*time.Millisecond)
	defer cancel()
	if _, err := c.lock(ctx, "thing"); err == nil {
		t.Error("took a lock that is held")
	}
}
