package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// asideMark stands between the old name of what cannot be removed, and the rest of its new name. A
// container's note has it, too.
const asideMark = "-left-"

// countAside counts the containers of a unit that were set aside and still exist.
func (l Launcher) countAside(id string) int {
	names, _ := l.notes()
	return len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, id+asideMark) }))
}

// setAside renames a container that could not be removed, and replaces its note. It writes the
// new note first: after a kill at any moment the container has a note.
func (n note) setAside(ctx context.Context, argv, aside []string) error {
	suffix := uniqueSuffix()
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

// runTwice runs a removal, and a second time if it fails. The second run can work: podman 5.4 notes
// the end of a killed monitor only when its first removal fails, and it needs an empty mount point
// (clearMountPoint).
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

// fullMountPoint matches what podman says of a container whose root is no longer mounted, but whose
// mount point is not empty: "replacing" in podman 5.4, "removing" in earlier versions, of which 4.3 is
// not affected. The OCI runtime made its own mount points there, because podman was killed meanwhile,
// or took the host for rebooted. Without help podman says so for ever
// (github.com/containers/podman/issues/23504).
var fullMountPoint = regexp.MustCompile(`(?:removing|replacing) mount point \\?"(/[^"\\\s]+/overlay/[0-9a-f]{64}/merged)\\?": directory not empty`)

// clearMountPoint renames a mount point of which podman says that it is not empty. podman removes
// what it was renamed to, because that is in the container's own directory. Nothing that an agent
// chooses is in podman's message. The kernel renames no mount point; clearMountPoint also refuses
// one with mounts below it, whose files podman would remove.
func clearMountPoint(said string) error {
	found := fullMountPoint.FindStringSubmatch(said)
	if found == nil || filepath.Clean(found[1]) != found[1] {
		return nil
	}
	merged := found[1]
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+merged+"/") {
		return fmt.Errorf("%s cannot be emptied: something is mounted below it", merged)
	}
	return os.Rename(merged, merged+uniqueSuffix())
}

// uniqueSuffix returns the end of a new name for something that cannot be removed.
func uniqueSuffix() string { return asideMark + strconv.FormatInt(time.Now().UnixNano(), 36) }

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
