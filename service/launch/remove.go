package launch

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tripleo.io/sidecar/internal/sdnotify"
)

const (
	// RemoveLimit is how long [Launcher.Remove] may take, both tries together. podman
	// takes a tenth of a second on an idle host, and its locks let one removal through
	// at a time: it takes seconds when many sidecars are stopped at once.
	RemoveLimit = 15 * time.Second
	// removeGrace is what a program gets to exit after SIGTERM.
	removeGrace = 500 * time.Millisecond
)

// ExtendTimeout asks the service manager to wait until limit from now before it kills the
// caller, a process of a unit that stops (EXTEND_TIMEOUT_USEC= of sd_notify(3)). The
// unit's stop time-out is for the payload, which is meant to exit soon; a sidecar whose
// removal takes longer than that would count as failed. socket is NOTIFY_SOCKET.
func ExtendTimeout(socket string, limit time.Duration) error {
	return sdnotify.Send(socket, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds()), time.Second)
}

// Remove runs the program argv, which takes away what the engine left of a unit; its last
// word is the name of that. If it fails it is run once more: podman 5.4 fails to remove a
// container whose monitor was killed, but notes that it has ended, and can remove it then.
// If it fails again, it is left to [Launcher.Sweep], and aside is run with a new name as
// its last word: what cannot be removed, as a container that was paused when its processes
// were killed (until the next boot, with podman 5.4), must not keep its name from the
// unit's next launch. What the programs print is part of the error, and is worth nothing
// otherwise. It takes at most [RemoveLimit] and what the program needs to exit.
func (l Launcher) Remove(ctx context.Context, id string, argv, aside []string) error {
	ctx, cancel := context.WithTimeout(ctx, RemoveLimit)
	defer cancel()
	n, noteErr := l.note(ctx, id, argv)
	err := removeTwice(ctx, argv)
	switch {
	case noteErr != nil && err != nil:
		return errors.Join(err, fmt.Errorf("noting what is to be removed: %w", noteErr))
	case noteErr != nil:
		return nil // there is nothing left to be noted
	case err != nil && ctx.Err() == nil && len(aside) > 0:
		return errors.Join(err, n.setAside(ctx, argv, aside))
	case err != nil:
		n.unlock()
		return err
	}
	return n.done()
}

// setAside gives what could not be removed another name, and notes that name instead.
func (n leftover) setAside(ctx context.Context, argv, aside []string) error {
	suffix := "-left-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	renamed := slices.Clone(argv)
	renamed[len(renamed)-1] += suffix
	if err := runQuietly(ctx, append(slices.Clone(aside), renamed[len(renamed)-1])); err != nil {
		n.unlock() // the next launch tries again to remove it
		return err
	}
	left, err := newLeftover(n.path+suffix, renamed)
	left.unlock()
	return errors.Join(err, n.done())
}

func removeTwice(ctx context.Context, argv []string) error {
	err := runQuietly(ctx, argv)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return runQuietly(ctx, argv)
}

func runQuietly(ctx context.Context, argv []string) error {
	start := time.Now()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = removeGrace
	out, err := cmd.CombinedOutput()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		err = fmt.Errorf("not done after %v", time.Since(start).Round(time.Second))
	}
	if err != nil {
		return fmt.Errorf("%s: %v: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
