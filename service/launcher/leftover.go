package launcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// A removal that fails is repeated until it works: [Launcher.Remove] writes the command to a
// note, a file of the unit's name, before it runs the command, and deletes the note when the
// command has worked. [Launcher.Sweep] (sidecar-clean.service) runs the commands of the notes
// that exist. A process that runs a command holds the note's lock; a new launch of the unit
// takes the lock and deletes the note before it makes anything. A note is locked and complete
// before it gets its name: a kill at any moment leaves a whole note or none.
const notesName = "leftovers" // beside the directory of the pins

// transientUnits has a file for every transient unit that systemd has loaded.
const transientUnits = "/run/systemd/transient"

const (
	// lockPause is the time between two attempts to take a lock.
	lockPause = 20 * time.Millisecond
	// sweepLimit bounds one removal of a sweep. A container with 120,000 control groups took
	// podman 17 s.
	sweepLimit = 5 * time.Minute
	// sweepWidth is how many removals run at the same time: one that hangs does not hold up the
	// others.
	sweepWidth = 4
)

// note is the note of one removal, locked.
type note struct {
	lock *flock.Flock
	path string
}

func (l Launcher) notesDirectory() string { return filepath.Join(filepath.Dir(l.base()), notesName) }

// HasLeftover reports whether a unit has a note.
func (l Launcher) HasLeftover(id string) bool {
	_, invalid := interfaces.ParseID(id)
	_, err := os.Lstat(filepath.Join(l.notesDirectory(), id))
	return invalid == nil && err == nil
}

// HasLeftovers reports whether a note exists, or the notes cannot be read.
func (l Launcher) HasLeftovers() bool {
	names, err := l.notes()
	return err != nil || len(names) > 0
}

// takeNote returns the note of a unit, locked, and writes it if it does not exist. The note of
// an earlier removal is for the same container, and is kept unless it is damaged.
func (l Launcher) takeNote(ctx context.Context, id string, argv []string) (note, error) {
	sidecar, aside, _ := strings.Cut(id, asideMark)
	if _, err := interfaces.ParseID(sidecar); err != nil {
		return note{}, err
	}
	if strings.Contains(aside, "/") {
		return note{}, fmt.Errorf("%q is not the name of a container", id)
	}
	if err := os.MkdirAll(l.notesDirectory(), 0o700); err != nil {
		return note{}, err
	}
	path := filepath.Join(l.notesDirectory(), id)
	for {
		n, err := lockNote(ctx, path)
		if errors.Is(err, os.ErrNotExist) {
			n, err = newNote(path, argv)
			if errors.Is(err, os.ErrExist) {
				continue
			}
			return n, err
		}
		if err != nil {
			return note{}, err
		}
		if _, err = n.command(); !errors.Is(err, errDamaged) {
			return n, nil
		}
		if err = n.delete(); err != nil {
			return note{}, err
		}
	}
}

// newNote makes a note, locked. The error is os.ErrExist if the path exists.
func newNote(path string, argv []string) (note, error) {
	text, err := json.Marshal(argv)
	if err != nil {
		return note{}, err
	}
	file, err := os.OpenFile(filepath.Dir(path), unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		return note{}, err
	}
	defer file.Close() // the lock has a descriptor of its own
	n := note{flock.New(throughProc(file), flock.SetFlag(os.O_RDWR)), path}
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

// deleteNote deletes the note of a unit, if it exists, when nobody holds its lock.
func (l Launcher) deleteNote(ctx context.Context, id string) error {
	n, err := lockNote(ctx, filepath.Join(l.notesDirectory(), id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the container of an earlier run is being removed: %w", err)
	}
	return n.delete()
}

// lockNote waits for the lock of a note. The error is os.ErrNotExist if the note does not exist.
func lockNote(ctx context.Context, path string) (note, error) {
	for {
		n := note{flock.New(path, flock.SetFlag(os.O_RDWR)), path}
		locked, err := n.lock.TryLockContext(ctx, lockPause)
		if err != nil || !locked {
			n.unlock()
			return note{}, errors.Join(err, ctx.Err())
		}
		held, err := n.lock.Stat()
		named, namedErr := os.Lstat(path)
		if err == nil && namedErr == nil && os.SameFile(held, named) {
			return n, nil
		}
		n.unlock() // another process has deleted it meanwhile; a new note may exist
	}
}

// delete deletes the note.
func (n note) delete() error {
	defer n.unlock()
	return os.Remove(n.path)
}

func (n note) unlock() { _ = n.lock.Close() } // the file is closed in any case

// errInUse means that another process holds the lock of a note.
var errInUse = errors.New("its container is being removed by another process")

// Sweep runs the command of every note, and of notes that appear meanwhile, because systemd
// does not start it a second time while it runs. It runs each failing command twice, and
// then leaves it for its next run. Its error names the units whose removal fails or is in use.
func (l Launcher) Sweep(ctx context.Context) error {
	failed := map[string]bool{}
	all := errors.Join(l.cleanOthers(), l.sweepSandboxes())
	for {
		names, err := l.notes()
		if err != nil {
			return errors.Join(all, err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return failed[name] })
		if len(names) == 0 {
			return all
		}
		errs := make([]error, len(names))
		var group errgroup.Group
		group.SetLimit(sweepWidth)
		for i, name := range names {
			group.Go(func() error {
				errs[i] = l.sweep(ctx, name)
				return nil
			})
		}
		_ = group.Wait() // the errors are in errs
		for i, name := range names {
			if errs[i] != nil {
				failed[name] = true
				all = errors.Join(all, fmt.Errorf("sidecar %s: %w", name, errs[i]))
			}
		}
	}
}

// NoteOrphan writes the note of a container for [Launcher.Sweep], if its unit does not exist, or
// if it was set aside. Power loss leaves such containers without a note, and so does a clean-up
// that is killed before it writes its note. name is the container's, argv the command that
// removes it.
func (l Launcher) NoteOrphan(ctx context.Context, id, name, unit string, argv []string) error {
	_, suffix, aside := strings.Cut(name, asideMark)
	if aside {
		id += asideMark + suffix
	}
	if !aside && !l.lacks(unit) {
		return nil
	}
	held, cancel := context.WithTimeout(ctx, lockPause)
	defer cancel()
	n, err := l.takeNote(held, id, argv)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // another process removes it
	}
	if err != nil {
		return err
	}
	if !aside && !l.lacks(unit) { // a launch has come meanwhile: it replaces the container
		return n.delete()
	}
	n.unlock() // a launch that comes now deletes the note before it makes a container
	return nil
}

// lacks reports whether systemd does not have a transient unit.
func (l Launcher) lacks(unit string) bool {
	_, err := os.Lstat(filepath.Join(cmp.Or(l.Units, transientUnits), unit))
	return errors.Is(err, os.ErrNotExist)
}

// cleanOthers removes the pins of units that do not exist any more, and whose clean-up was killed.
func (l Launcher) cleanOthers() error {
	entries, err := os.ReadDir(l.base())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		id, invalid := interfaces.ParseID(entry.Name())
		if invalid != nil {
			continue
		}
		if l.lacks(id.Unit()) {
			err = errors.Join(err, l.Clean(entry.Name()))
		}
	}
	return err
}

// notes lists the names of all notes.
func (l Launcher) notes() ([]string, error) {
	entries, err := os.ReadDir(l.notesDirectory())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// sweep runs the command of one note.
func (l Launcher) sweep(ctx context.Context, name string) error {
	held, cancel := context.WithTimeout(ctx, lockPause)
	defer cancel()
	n, err := lockNote(held, filepath.Join(l.notesDirectory(), name))
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
		err = runTwice(ctx, argv)
	}
	if err != nil {
		n.unlock()
		return err
	}
	return n.delete()
}

// errDamaged means that a note has no command.
var errDamaged = errors.New("is damaged")

// command reads the command of a note. A note whose program does not exist is not damaged: the
// engine may be being upgraded.
func (n note) command() ([]string, error) {
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
