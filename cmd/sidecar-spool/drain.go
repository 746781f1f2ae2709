package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
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
	socket, err := client.New(filepath.Join(o.runtimeDirectory, "agents", agent, interfaces.Name))
	if err != nil {
		return err
	}
	return drain.Run(ctx, drain.Config{
		Directory: filepath.Join(o.directory, agent),
		Service:   service{socket},
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

// service is a client whose errors the drain can tell apart.
type service struct{ *client.Client }

func (s service) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	reply, err := s.Client.LaunchReply(ctx, p)
	return reply, translate(err)
}

func (s service) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	sidecars, err := s.Client.List(ctx, p)
	return sidecars, translate(err)
}

func (s service) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	reply, err := s.Client.Stop(ctx, p)
	return reply, translate(err)
}

func (s service) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	return translate(s.Client.Signal(ctx, p))
}

// translate tells the drain whether a call that failed was made at all.
func translate(err error) error {
	var unreachable *client.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return fmt.Errorf("%w: %w", drain.ErrUnreachable, err)
	case errors.Is(err, client.ErrInterrupted):
		return fmt.Errorf("%w: %w", drain.ErrInterrupted, err)
	}
	return err
}
