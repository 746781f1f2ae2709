package launch

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Time for [Launcher.Remove], both tries together, and for its program to give up after
// SIGTERM. With what the caller does afterwards the sum stays below the TimeoutStopUSec
// of the unit (5 s), after which systemd would kill us.
const (
	removeLimit = 3500 * time.Millisecond
	removeGrace = 500 * time.Millisecond
)

// Remove runs the program argv, which takes away what the engine left of a unit. If it
// fails it is run once more: podman 5.4 fails to remove a container whose monitor was
// killed, but notes that it has ended, and can remove it then. If it fails again, it is
// left to [Launcher.Sweep]. What it prints is part of the error, and is worth nothing
// otherwise. It takes less than 4.5 seconds in all.
func (l Launcher) Remove(ctx context.Context, id string, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	n, noteErr := l.note(ctx, id, argv)
	err := removeTwice(ctx, argv)
	switch {
	case noteErr != nil && err != nil:
		return errors.Join(err, fmt.Errorf("noting what is to be removed: %w", noteErr))
	case noteErr != nil:
		return nil // there is nothing left to be noted
	case err != nil:
		n.unlock()
		return err
	}
	return n.done()
}

func removeTwice(ctx context.Context, argv []string) error {
	err := runQuietly(ctx, removeLimit, argv)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return runQuietly(ctx, removeLimit, argv)
}

func runQuietly(ctx context.Context, limit time.Duration, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = removeGrace
	out, err := cmd.CombinedOutput()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		err = fmt.Errorf("not done after %v", limit)
	}
	if err != nil {
		return fmt.Errorf("%s: %v: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
