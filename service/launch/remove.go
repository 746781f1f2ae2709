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
	// RemoveLimit is how long [Launcher.Remove] may take in all. podman takes a tenth of
	// a second on an idle host, and its locks let one removal through at a time: it takes
	// seconds when many sidecars are stopped at once. A launch in the place of another
	// waits for it, and must be over before sidecar-shim gives up (50 s).
	RemoveLimit = 10 * time.Second
	// maxAside is how many containers of one unit are set aside at most.
	maxAside = 3
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

// Remove runs the program argv, whose last word is the name of the container that a unit
// left. If it fails it is run once more: podman 5.4 fails to remove a container whose
// monitor was killed, but notes that it has ended, and can remove it then. If it fails
// again, the container is left to [Launcher.Sweep], and the program aside gives it a new
// name, which is added to its words: a container that was paused when its processes were
// killed cannot be removed before the next boot (podman 5.4), and its name is needed by the
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
	case err != nil && ctx.Err() == nil && len(aside) > 0 && l.setAsideSoFar(id) < maxAside:
		return errors.Join(err, n.setAside(ctx, argv, aside))
	case err != nil:
		n.unlock()
		return err
	}
	return n.done()
}

// asideMark stands between a container's old name and what makes the new one different, and
// in the same way in the name of the note.
const asideMark = "-left-"

// setAsideSoFar counts the containers of a unit that were set aside and are still there.
func (l Launcher) setAsideSoFar(id string) int {
	names, _ := l.notes()
	return len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, id+asideMark) }))
}

// setAside gives a container that could not be removed another name, and notes that name
// instead. The new note comes first: a kill at any moment leaves one for the container.
func (n leftover) setAside(ctx context.Context, argv, aside []string) error {
	suffix := asideMark + strconv.FormatInt(time.Now().UnixNano(), 36)
	renamed := slices.Clone(argv)
	renamed[len(renamed)-1] += suffix
	left, err := newLeftover(n.path+suffix, renamed)
	if err != nil {
		n.unlock() // the next launch tries again to remove it
		return err
	}
	if err := runQuietly(ctx, append(slices.Clone(aside), renamed[len(renamed)-1])); err != nil {
		n.unlock()
		return errors.Join(err, left.done())
	}
	left.unlock()
	return n.done()
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
