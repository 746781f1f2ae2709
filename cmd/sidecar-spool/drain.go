package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"tripleo.io/sidecar/spool/drain"
)

const (
	// lockTimeout is how long to wait for another drain of the same spool: it ends
	// by itself. The unit lets only one run; a person can start another one.
	lockTimeout = 5 * time.Minute
	lockPause   = 100 * time.Millisecond
)

func drainAgent(ctx context.Context, o options, agent string, logger *slog.Logger) error {
	unlock, err := lock(ctx, o.lockDirectory, agent)
	if err != nil {
		return err
	}
	defer unlock()
	return drain.Run(ctx, drain.Config{
		Directory: filepath.Join(o.directory, agent),
		Service:   service{filepath.Join(o.runtimeDirectory, "agents", agent)},
		Logger:    logger,
	})
}

// lock waits until no other drain of the agent's spool runs. The file is out of the
// agent's reach: who could lock it could stop the drain.
func lock(ctx context.Context, directory, agent string) (unlock func(), err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	l := flock.New(filepath.Join(directory, agent+".lock"))
	if _, err := l.TryLockContext(ctx, lockPause); err != nil {
		return nil, fmt.Errorf("another drain of this spool holds %s: %w", l.Path(), err)
	}
	return func() { l.Close() }, nil
}
