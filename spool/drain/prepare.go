package drain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// Prepare makes the spool of an agent below parent, or sets owners and modes of the
// one that is there. The user is who writes requests. The parent must be there.
func Prepare(parent, agent string, user uint32) error {
	if !interfaces.ValidName(agent) {
		return fmt.Errorf("not an agent's name: %.40q", agent)
	}
	dir, err := os.OpenFile(parent, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	root := uint32(os.Geteuid())
	for _, d := range []struct {
		path string
		user uint32
		mode os.FileMode
	}{
		{"", root, 0o755},
		{spool.Requests, root, 0o755},
		{spool.Temporary, user, 0o700},
		{spool.New, user, 0o700},
		{spool.Claimed, root, 0o700},
		{spool.Results, root, 0o755},
		{spool.Refused, root, 0o700},
	} {
		if err := makeDirectory(dir, filepath.Join(agent, d.path), d.user, d.mode); err != nil {
			return err
		}
	}
	return nil
}

// makeDirectory makes a directory beneath dir, whoever can write there. Its mode is
// set while it is root's, for which no capability is needed.
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
	return errors.Join(f.Chown(os.Geteuid(), os.Getegid()), f.Chmod(mode), f.Chown(int(user), os.Getegid()))
}
