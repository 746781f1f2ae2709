package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
)

// resolveBeneath is how a path in an agent's directory is walked: never out of
// it, never over a link (openat2(2)).
const resolveBeneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// openFixed opens a path that root chose. Links are refused there too: which
// directory is meant should be readable in the configuration.
func openFixed(name string, flags uint64) (*os.File, error) {
	return openat2(unix.AT_FDCWD, name, name, flags, unix.RESOLVE_NO_SYMLINKS)
}

// openBeneath opens name beneath root, a path that root chose.
func openBeneath(root, name string, flags uint64) (*os.File, error) {
	dir, err := openFixed(root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return openat2(int(dir.Fd()), name, path.Join(root, name), flags, resolveBeneath)
}

// openParent opens the directory that a file lies in. The file's own name is
// the last component of its path.
func openParent(f document.File) (*os.File, error) {
	return openBeneath(f.Root, path.Dir(f.Path), unix.O_PATH|unix.O_DIRECTORY)
}

// openat2 is [netns.Openat2] with errors that say what they are about. shown is
// the path in them.
func openat2(dir int, name, shown string, flags, resolve uint64) (*os.File, error) {
	fd, err := netns.Openat2(dir, name, flags, resolve)
	if err != nil {
		return nil, explain(shown, err)
	}
	return os.NewFile(uintptr(fd), shown), nil
}

func explain(shown string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s: is, or lies behind, a symbolic link", shown)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: does not exist: %w", shown, err)
	}
	return fmt.Errorf("%s: %v", shown, err)
}

// throughProc returns a path that leads to what f is open on, and nowhere else
// (proc_pid_fd(5)).
func throughProc(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

func statOf(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, fmt.Errorf("%s: %v", f.Name(), err)
	}
	return st, nil
}
