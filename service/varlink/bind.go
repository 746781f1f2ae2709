package varlink

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const (
	agentsMode = 0o700 // the directory of all agents: nobody but root looks for other agents
	agentMode  = 0o755 // an agent's own directory, which is mounted into its container
	socketMode = 0o666 // the mount is the capability, whatever the agent's user
)

// AgentSocket returns the path of an agent's socket below dir.
func AgentSocket(dir, agent string) string {
	return filepath.Join(dir, agent, interfaces.Name)
}

// BindAgent makes an agent's directory below dir and listens in it. The agent's
// container may be able to write into that directory, so nothing in it is
// followed or believed: a socket there is replaced, whoever listens on it, and
// anything else is refused. A directory that something is mounted over is refused
// without asking the file system there. The directories must belong to the
// caller's user; their modes are set.
//
// The caller makes sure that no second daemon runs, here and in Bind. Both may wait in
// the kernel for as long as an agent holds its directory's lock (ARCHITECTURE.md, "Calls
// that can hang").
func BindAgent(dir, agent string) (*net.UnixListener, error) {
	if !interfaces.ValidName(agent) {
		return nil, fmt.Errorf("not an agent's name: %.40q", agent)
	}
	if err := ensureDir(dir, agentsMode, 0); err != nil {
		return nil, err
	}
	path := AgentSocket(dir, agent)
	if err := ensureDir(filepath.Dir(path), agentMode, unix.RESOLVE_NO_XDEV); err != nil {
		return nil, err
	}
	return Bind(path, socketMode)
}

// Bind listens at path, whose directory must be safe from others. A socket there
// is replaced, whoever listens on it; anything else that is there is refused. The
// file stays when the listener is closed.
func Bind(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	return listen(path, mode)
}

func listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := chmodSocket(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// UnbindAgent removes what BindAgent made for an agent. Another file in the
// directory is left, and the directory with it.
func UnbindAgent(dir, agent string) error {
	path := AgentSocket(dir, agent)
	directory, err := openDir(filepath.Dir(path), unix.RESOLVE_NO_XDEV)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer directory.Close()
	err = unix.Unlinkat(int(directory.Fd()), filepath.Base(path), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return os.Remove(directory.Name())
}

// InodeOf returns the inode number of the socket at path, whose directory must be
// safe from others. It differs from what it was when somebody has replaced the
// socket.
func InodeOf(path string) (uint64, error) { return inodeAt(unix.AT_FDCWD, path, path) }

// AgentInode is InodeOf of an agent's socket, with BindAgent's precautions.
func AgentInode(dir, agent string) (uint64, error) {
	path := AgentSocket(dir, agent)
	directory, err := openDir(filepath.Dir(path), unix.RESOLVE_NO_XDEV)
	if err != nil {
		return 0, err
	}
	defer directory.Close()
	return inodeAt(int(directory.Fd()), filepath.Base(path), path)
}

func inodeAt(dir int, name, path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return 0, errors.New(path + " is no socket any more")
	}
	return stat.Ino, nil
}

// ensureDir makes a directory or sets the mode of the one that is there.
func ensureDir(path string, mode fs.FileMode, resolve uint64) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := openDir(path, resolve)
	if err != nil {
		return err
	}
	defer dir.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d and not to %d", path, stat.Uid, os.Geteuid())
	}
	return dir.Chmod(mode)
}

// openDir opens a directory that is no symbolic link and, with RESOLVE_NO_XDEV,
// no mount point (openat2(2)). The kernel refuses a mount point before it asks the
// file system that is mounted there, which may be one that never answers (fuse(4)).
func openDir(path string, resolve uint64) (*os.File, error) {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(parent)
	fd, err := unix.Openat2(parent, filepath.Base(path), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: resolve | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("%s: something is mounted there; unmount it (umount %s)", path, path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// removeSocket removes the socket at path, if there is one.
func removeSocket(path string) error {
	fd, err := openSocket(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return os.Remove(path) // of what has taken its place since: a symlink itself, not what it leads to
}

// openSocket opens the file at path, which must be a socket, without doing
// anything to it (O_PATH, open(2)).
func openSocket(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return -1, errors.Join(fmt.Errorf("%s is there and is no socket; remove it", path), err)
	}
	return fd, nil
}

// chmodSocket changes the mode of the socket at path and of nothing that may
// have taken its place.
func chmodSocket(path string, mode fs.FileMode) error {
	fd, err := openSocket(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return os.Chmod(procFD(fd), mode)
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
