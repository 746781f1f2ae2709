package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// resolve keeps a lookup beneath its directory, on its file system, and off every
// link (openat2(2)).
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// Prepare makes the spool of an agent below parent, or sets owners and modes of the
// one that exists. Requests will belong to user. Nobody but root may write into
// parent, which must exist; the agent's directory may be a file system of its own, its
// subdirectories may not.
func Prepare(parent, agent string, user uint32) error {
	if !interfaces.ValidName(agent) {
		return fmt.Errorf("not an agent's name: %.40q", agent)
	}
	path := filepath.Join(parent, agent)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := openRoot(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	root := uint32(os.Geteuid())
	if err := give(dir, root, 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		path string
		user uint32
		mode os.FileMode
	}{
		{spool.Requests, root, 0o755},
		{spool.Temporary, user, 0o700},
		{spool.New, user, 0o700},
		{spool.Claimed, root, 0o700},
		{spool.Results, root, 0o755},
		{spool.Refused, root, 0o700},
	} {
		if err := makeDirectory(dir, d.path, d.user, d.mode); err != nil {
			return err
		}
	}
	return nil
}

// makeDirectory makes a directory beneath dir, whoever can write there.
func makeDirectory(dir *os.File, path string, user uint32, mode os.FileMode) error {
	above, err := openDirectory(dir, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer above.Close()
	if err := unix.Mkdirat(int(above.Fd()), filepath.Base(path), uint32(mode)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	f, err := openDirectory(dir, path)
	if err != nil {
		return err
	}
	defer f.Close()
	return give(f, user, mode)
}

// give sets a directory's owner and mode. The mode is set while root owns the
// directory, which needs no capability.
func give(dir *os.File, user uint32, mode os.FileMode) error {
	return errors.Join(dir.Chown(os.Geteuid(), os.Getegid()), dir.Chmod(mode), dir.Chown(int(user), os.Getegid()))
}

// tree holds the directories of a spool, opened once: later changes of their names do
// not matter.
type tree struct {
	user uint32 // who owns the requests

	temporary, new, claimed, results, refused *os.File
}

// openTree opens a spool that Prepare has made.
func openTree(path string) (*tree, error) {
	root, err := openRoot(path)
	if err != nil {
		return nil, fmt.Errorf("the spool: %w", err)
	}
	defer root.Close()
	t := &tree{}
	for name, to := range map[string]**os.File{
		spool.Temporary: &t.temporary, spool.New: &t.new,
		spool.Claimed: &t.claimed, spool.Results: &t.results, spool.Refused: &t.refused,
	} {
		if *to, err = openDirectory(root, name); err != nil {
			t.close()
			return nil, fmt.Errorf("the spool: %w", err)
		}
	}
	if err := t.check(); err != nil {
		t.close()
		return nil, fmt.Errorf("the spool %s: %w; 'sidecar-spool prepare' corrects it", path, err)
	}
	return t, nil
}

// check sets the spool's user, and refuses a spool whose other directories that user
// could write to.
func (t *tree) check() error {
	st, err := statOf(t.new)
	if err != nil {
		return err
	}
	t.user = st.Uid
	for _, dir := range []*os.File{t.claimed, t.results, t.refused} {
		st, err := statOf(dir)
		if err != nil {
			return err
		}
		if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
			return fmt.Errorf("%s belongs to user %d with mode %04o", dir.Name(), st.Uid, st.Mode&0o7777)
		}
	}
	return nil
}

func (t *tree) close() {
	for _, dir := range []*os.File{t.temporary, t.new, t.claimed, t.results, t.refused} {
		dir.Close() // nil if it was not opened
	}
}

// openRoot opens the directory of a spool.
func openRoot(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// openDirectory opens a directory beneath another one.
func openDirectory(dir *os.File, name string) (*os.File, error) {
	return openBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

// openBeneath opens a name beneath dir.
func openBeneath(dir *os.File, name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR, unix.EAGAIN: // EAGAIN: something was renamed meanwhile
		default:
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

func statOf(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st, nil
}

// writeNew writes a file that does not exist yet. Its mode is as given, whatever the
// umask.
func writeNew(dir *os.File, name string, text []byte, mode fs.FileMode) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode))
	if err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	_, err = f.Write(text)
	return errors.Join(err, f.Chmod(mode))
}

// move renames, and never replaces an entry (renameat2(2)).
func move(from *os.File, name string, to *os.File, as string) error {
	return unix.Renameat2(int(from.Fd()), name, int(to.Fd()), as, unix.RENAME_NOREPLACE)
}

// remove removes a file, or an empty directory.
func remove(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == unix.EISDIR || err == unix.EPERM { //nolint:errorlint // a system call's own error
		return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
	}
	return err
}

// exists reports whether dir has the name.
func exists(dir *os.File, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}
