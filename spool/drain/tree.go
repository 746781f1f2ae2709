package drain

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

// resolve keeps a lookup beneath its directory, on its file system, and off every
// link (openat2(2)).
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// tree are the directories of a spool, opened once: what has their names later
// does not matter.
type tree struct {
	user uint32 // whose requests these are

	temporary, fresh, claimed, results, refused *os.File
}

// openTree opens a spool that Prepare has made.
func openTree(path string) (*tree, error) {
	root, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("the spool: %w", err)
	}
	defer root.Close()
	t := &tree{}
	for name, to := range map[string]**os.File{
		spool.Temporary: &t.temporary, spool.New: &t.fresh,
		spool.Claimed: &t.claimed, spool.Results: &t.results, spool.Refused: &t.refused,
	} {
		if *to, err = openDirectory(root, name); err != nil {
			t.close()
			return nil, fmt.Errorf("the spool: %w", err)
		}
	}
	if err := t.check(); err != nil {
		t.close()
		return nil, fmt.Errorf("the spool %s: %w; sidecar-spool prepare makes it right", path, err)
	}
	return t, nil
}

// check learns the spool's user, and finds out whether the rest is out of its
// reach.
func (t *tree) check() error {
	st, err := statOf(t.fresh)
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
	for _, dir := range []*os.File{t.temporary, t.fresh, t.claimed, t.results, t.refused} {
		if dir != nil {
			dir.Close()
		}
	}
}

// openDirectory opens a directory beneath another one.
func openDirectory(dir *os.File, name string) (*os.File, error) {
	return openBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

// openBeneath opens what lies beneath dir.
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

// move renames, and never over what is there (renameat2(2)).
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
