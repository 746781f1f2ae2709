package drain

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

// Prepare makes the spool of an agent below parent, or sets owners and modes of the
// one that is there. The user is who writes requests. The parent must be there, and
// nobody but root may write into it; the agent's directory may be a file system of
// its own, what is in it may not.
func Prepare(parent, agent string, user uint32) error {
	if !interfaces.ValidName(agent) {
		return fmt.Errorf("not an agent's name: %.40q", agent)
	}
	path := filepath.Join(parent, agent)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
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

// give sets a directory's owner and mode, the mode while it is root's: no capability
// is needed for that.
func give(dir *os.File, user uint32, mode os.FileMode) error {
	return errors.Join(dir.Chown(os.Geteuid(), os.Getegid()), dir.Chmod(mode), dir.Chown(int(user), os.Getegid()))
}
