package launcher

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

// resolveBeneath is how a path in an agent's directory is walked: never out of it, never
// over a link (openat2(2)).
const resolveBeneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// openFixed opens a path that root chose. Links are refused, so that the configuration names
// the directory that is meant.
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

// openParent opens the directory of a file.
func openParent(f document.File) (*os.File, error) {
	return openBeneath(f.Root, path.Dir(f.Path), unix.O_PATH|unix.O_DIRECTORY)
}

// openat2 is [netns.Openat2] whose errors begin with shown, the whole path.
func openat2(dir int, name, shown string, flags, resolve uint64) (*os.File, error) {
	fd, err := netns.Openat2(dir, name, flags, resolve)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s: is, or lies behind, a symbolic link", shown)
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%s: does not exist: %w", shown, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %v", shown, err)
	}
	return os.NewFile(uintptr(fd), shown), nil
}

// throughProc returns a path that leads to the open file f, and nowhere else
// (proc_pid_fd(5)).
func throughProc(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

func statOf(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, fmt.Errorf("%s: %v", f.Name(), err)
	}
	return st, nil
}

// payloadFile is a file that the payload has made, opened with O_PATH, and its directory.
type payloadFile struct {
	*os.File
	dir  *os.File
	stat unix.Stat_t
}

func (f payloadFile) close() {
	f.Close()
	f.dir.Close()
}

// openPayloadFile opens a file of the given format (S_IFMT). O_PATH cannot block on a fifo and
// has no effect on a device. If the file does not exist, the error is a [notReady]. Errors
// begin with shown, the whole path.
func openPayloadFile(f document.File, shown string, format uint32) (file payloadFile, err error) {
	if file.dir, err = openParent(f); err == nil {
		file.File, err = openat2(int(file.dir.Fd()), path.Base(f.Path), shown, unix.O_PATH, resolveBeneath)
	}
	if err == nil {
		file.stat, err = statOf(file.File)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		err = notReady(err.Error())
	case err == nil && file.stat.Mode&unix.S_IFMT != format:
		kind := map[uint32]string{unix.S_IFREG: "plain file", unix.S_IFSOCK: "socket"}[format]
		err = fmt.Errorf("%s: is not a %s (mode %#o)", shown, kind, file.stat.Mode)
	}
	if err != nil {
		file.close()
	}
	return file, err
}

// openRegular opens a plain file for reading. It returns nil for a file of another kind,
// which could block.
func openRegular(f document.File) (*os.File, error) {
	pinned, err := openBeneath(f.Root, f.Path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer pinned.Close()
	st, err := statOf(pinned)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, err
	}
	return os.OpenFile(throughProc(pinned), os.O_RDONLY|unix.O_NONBLOCK, 0)
}
