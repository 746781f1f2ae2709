package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// RemoveLimit bounds [Launcher.Remove] in all. podman takes a tenth of a second on an idle
	// host, and seconds when many sidecars stop, because its locks allow one removal at a
	// time. A launch that replaces a sidecar waits for it, and must end before sidecar-shim
	// gives up (50 s).
	RemoveLimit = 10 * time.Second
	// maxAside is how many containers of one unit may be set aside at the same time.
	maxAside = 3
	// removeGrace is how long a program may take to exit after SIGTERM.
	removeGrace = 500 * time.Millisecond
)

// Remove runs the command argv, whose last word is the name of a unit's container. If that
// fails, [Launcher.Sweep] removes the container later, and the command aside, to which a new name
// is added, renames it, because the unit's next launch needs its name: until the next boot,
// podman 5.4 cannot remove a container that was paused when its processes were killed. Remove
// takes [RemoveLimit] at most, and the time that the program needs to exit.
func (l Launcher) Remove(ctx context.Context, id string, argv, aside []string) error {
	ctx, cancel := context.WithTimeout(ctx, RemoveLimit)
	defer cancel()
	n, noteErr := l.takeNote(ctx, id, argv)
	err := runTwice(ctx, argv)
	switch {
	case noteErr != nil && err != nil:
		return errors.Join(err, fmt.Errorf("writing the note for sidecar-clean.service: %w", noteErr))
	case noteErr != nil:
		return nil // the container is removed: no note is needed
	case err != nil && ctx.Err() == nil && len(aside) > 0 && l.countAside(id) < maxAside:
		return errors.Join(err, n.setAside(ctx, argv, aside))
	case err != nil:
		n.unlock()
		return err
	}
	return n.delete()
}

// asideMark stands between a container's old name and the suffix of its new name, and in the
// name of its note.
const asideMark = "-left-"

// countAside counts the containers of a unit that were set aside and still exist.
func (l Launcher) countAside(id string) int {
	names, _ := l.notes()
	return len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, id+asideMark) }))
}

// setAside renames a container that could not be removed, and replaces its note. It writes the
// new note first: after a kill at any moment the container has a note.
func (n note) setAside(ctx context.Context, argv, aside []string) error {
	suffix := asideMark + strconv.FormatInt(time.Now().UnixNano(), 36)
	renamed := slices.Clone(argv)
	renamed[len(renamed)-1] += suffix
	left, err := newNote(n.path+suffix, renamed)
	if err != nil {
		n.unlock() // Sweep or the next launch removes it
		return err
	}
	if err := runQuietly(ctx, append(slices.Clone(aside), renamed[len(renamed)-1])); err != nil {
		n.unlock()
		return errors.Join(err, left.delete())
	}
	left.unlock()
	return n.delete()
}

// runTwice runs a removal, and a second time if it fails: podman 5.4 cannot remove a container whose
// monitor was killed, but notes its end then, and can remove it; and it cannot remove one before
// clearMountPoint.
func runTwice(ctx context.Context, argv []string) error {
	err := runQuietly(ctx, argv)
	if err == nil || ctx.Err() != nil {
		return err
	}
	clearErr := clearMountPoint(err.Error())
	if err = runQuietly(ctx, argv); err != nil {
		err = errors.Join(err, clearErr)
	}
	return err
}

// fullMountPoint matches what podman 5.4 says of a container whose root is no more mounted, but
// whose mount point is not empty, because the OCI runtime made its own mount points there: podman
// was killed meanwhile, or took the host for rebooted. It says so for ever
// (github.com/containers/podman/issues/23504).
var fullMountPoint = regexp.MustCompile(`replacing mount point \\?"(/[^"\\]+/[0-9a-f]{64}/merged)\\?": directory not empty`)

// clearMountPoint renames a mount point of which podman says that it is not empty. podman removes
// it then, because it is in the container's own directory. What is mounted cannot be renamed.
func clearMountPoint(said string) error {
	found := fullMountPoint.FindStringSubmatch(said)
	if found == nil {
		return nil
	}
	return os.Rename(found[1], found[1]+".left")
}

// runQuietly runs a command. Its error contains the output.
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
