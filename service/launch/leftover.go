package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// A removal that fails is tried again until it works: [Launcher.Remove] notes the
// command in a file of the unit's name before it runs it, and deletes the file when it
// has worked. [Launcher.Sweep], run by sidecar-clean.service, runs the commands of the
// files that are left. Whoever runs a command holds the file's lock; a new launch of the
// same unit takes the lock and deletes the file before it makes anything. A file has no
// name before it is locked and has its command: a kill at any moment leaves a whole note
// or none.
const leftoversName = "leftovers" // beside the directory of the pins

const (
	// lockPause is how often a lock is tried that somebody holds.
	lockPause = 20 * time.Millisecond
	// sweepLimit is how long one removal may take in a sweep. A container with 120,000
	// control groups took podman 17 s.
	sweepLimit = 5 * time.Minute
	// sweepWidth is how many removals run at once.
	sweepWidth = 4
)

// leftover is the note of one removal, locked.
type leftover struct {
	lock *flock.Flock
	path string
}

func (l Launcher) leftovers() string { return filepath.Join(filepath.Dir(l.base()), leftoversName) }

// HasLeftover reports whether the removal of what a unit left has failed so far.
func (l Launcher) HasLeftover(id string) bool {
	_, invalid := interfaces.ParseID(id)
	_, err := os.Lstat(filepath.Join(l.leftovers(), id))
	return invalid == nil && err == nil
}

// HasLeftovers reports whether there is a note at all, or may be one.
func (l Launcher) HasLeftovers() bool {
	names, err := l.notes()
	return err != nil || len(names) > 0
}

// note writes the command for Sweep. A note that an earlier removal of the unit left is
// kept, unless it is damaged: it is about the same container.
func (l Launcher) note(ctx context.Context, id string, argv []string) (leftover, error) {
	if _, err := interfaces.ParseID(id); err != nil {
		return leftover{}, err
	}
	if err := os.MkdirAll(l.leftovers(), 0o700); err != nil {
		return leftover{}, err
	}
	path := filepath.Join(l.leftovers(), id)
	for {
		n, err := lockLeftover(ctx, path)
		if errors.Is(err, os.ErrNotExist) {
			n, err = newLeftover(path, argv)
			if errors.Is(err, os.ErrExist) {
				continue
			}
			return n, err
		}
		if err != nil {
			return leftover{}, err
		}
		if _, err = n.command(); !errors.Is(err, errDamaged) {
			return n, nil
		}
		if err = n.done(); err != nil {
			return leftover{}, err
		}
	}
}

// newLeftover makes a note, locked. os.ErrExist means that there is one already.
func newLeftover(path string, argv []string) (leftover, error) {
	text, err := json.Marshal(argv)
	if err != nil {
		return leftover{}, err
	}
	file, err := os.OpenFile(filepath.Dir(path), unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		return leftover{}, err
	}
	defer file.Close() // the lock has a descriptor of its own
	n := leftover{flock.New(throughProc(file), flock.SetFlag(os.O_RDWR)), path}
	_, err = file.Write(text)
	if err == nil {
		_, err = n.lock.TryLock() // nobody else can have it
	}
	if err == nil {
		err = unix.Linkat(unix.AT_FDCWD, throughProc(file), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		n.unlock()
	}
	return n, err
}

// forget deletes the note about a unit, if there is one, when nobody uses it any more.
func (l Launcher) forget(ctx context.Context, id string) error {
	n, err := lockLeftover(ctx, filepath.Join(l.leftovers(), id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the container of an earlier run is being removed: %w", err)
	}
	return n.done()
}

// lockLeftover waits for the lock of a note. os.ErrNotExist means that it is gone.
func lockLeftover(ctx context.Context, path string) (leftover, error) {
	for {
		n := leftover{flock.New(path, flock.SetFlag(os.O_RDWR)), path}
		locked, err := n.lock.TryLockContext(ctx, lockPause)
		if err != nil || !locked {
			n.unlock()
			return leftover{}, errors.Join(err, ctx.Err())
		}
		held, err := n.lock.Stat()
		named, namedErr := os.Lstat(path)
		if err == nil && namedErr == nil && os.SameFile(held, named) {
			return n, nil
		}
		n.unlock() // somebody has deleted it while we waited; there may be another one
	}
}

// done deletes the note.
func (n leftover) done() error {
	defer n.unlock()
	return os.Remove(n.path)
}

func (n leftover) unlock() { _ = n.lock.Close() } // the file is closed in any case

// errInUse means that somebody else runs the command of a note.
var errInUse = errors.New("its container is being removed by another process")

// Sweep runs every removal that has failed so far, and looks again until no note is
// left but of those that have failed: systemd does not start it a second time while it
// runs. Its error names those that fail again or are in use.
func (l Launcher) Sweep(ctx context.Context) error {
	failed := map[string]bool{}
	var all error
	for {
		names, err := l.notes()
		if err != nil {
			return errors.Join(all, err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return failed[name] })
		if len(names) == 0 {
			return all
		}
		for i, err := range l.sweepAll(ctx, names) {
			if err != nil {
				failed[names[i]] = true
				all = errors.Join(all, err)
			}
		}
	}
}

// notes lists the units of which something is left.
func (l Launcher) notes() ([]string, error) {
	entries, err := os.ReadDir(l.leftovers())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// sweepAll runs the removals of some units, a few at once: one that hangs does not
// hold up the others. It returns an error or nil for each.
func (l Launcher) sweepAll(ctx context.Context, names []string) []error {
	errs := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(sweepWidth)
	for i, name := range names {
		group.Go(func() error {
			if err := l.sweep(ctx, name); err != nil {
				errs[i] = fmt.Errorf("sidecar %s: %w", name, err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return errs
}

func (l Launcher) sweep(ctx context.Context, name string) error {
	held, cancel := context.WithTimeout(ctx, lockPause)
	defer cancel()
	n, err := lockLeftover(held, filepath.Join(l.leftovers(), name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errInUse
	case err != nil:
		return err
	}
	argv, err := n.command()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, sweepLimit)
		defer cancel()
		err = runQuietly(ctx, argv)
	}
	if err != nil {
		n.unlock()
		return err
	}
	return n.done()
}

// errDamaged means that a note has no command.
var errDamaged = errors.New("is damaged")

// command reads the command of a note. Its program may be missing for a while, as when the
// engine is being upgraded: the note is not damaged then.
func (n leftover) command() ([]string, error) {
	text, err := os.ReadFile(n.path)
	if err != nil {
		return nil, err
	}
	var argv []string
	err = json.Unmarshal(text, &argv)
	if err == nil && (len(argv) == 0 || !filepath.IsAbs(argv[0])) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w; remove the container by hand, and then this file", n.path, errDamaged, err)
	}
	if err := unix.Access(argv[0], unix.X_OK); err != nil {
		return nil, &fs.PathError{Op: "access", Path: argv[0], Err: err}
	}
	return argv, nil
}
