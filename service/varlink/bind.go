package varlink

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

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
	agents, err := ensureDir(dir, agentsMode, 0)
	if err != nil {
		return nil, err
	}
	agents.Close()
	path := AgentSocket(dir, agent)
	directory, err := ensureDir(filepath.Dir(path), agentMode, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	// Through the descriptor: by now another directory may have the name.
	return file{procFD(int(directory.Fd())) + "/" + filepath.Base(path), path}.bind(socketMode)
}

// Bind listens at path, whose directory must be safe from others. A socket there
// is replaced, whoever listens on it; anything else that is there is refused. The
// file stays when the listener is closed.
func Bind(path string, mode fs.FileMode) (*net.UnixListener, error) {
	return file{path, path}.bind(mode)
}

// file is a file by the path that system calls get, and by the one that errors have.
type file struct{ path, shown string }

func (f file) bind(mode fs.FileMode) (*net.UnixListener, error) {
	if err := f.removeSocket(); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.path, Net: "unix"})
	if err != nil {
		return nil, f.failed("listen", err)
	}
	l.SetUnlinkOnClose(false)
	if err := f.chmodSocket(mode); err != nil {
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

// ensureDir makes a directory or sets the mode of the one that is there, and opens it.
func ensureDir(path string, mode fs.FileMode, resolve uint64) (*os.File, error) {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := openDir(path, resolve)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &stat); err != nil {
		err = &fs.PathError{Op: "stat", Path: path, Err: err}
	} else if int(stat.Uid) != os.Geteuid() {
		err = fmt.Errorf("%s belongs to user %d and not to %d", path, stat.Uid, os.Geteuid())
	} else {
		err = dir.Chmod(mode)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
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

// removeSocket removes the socket, if there is one.
func (f file) removeSocket() error {
	fd, err := f.openSocket()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f.failed("remove", os.Remove(f.path)) // of what has taken its place since: a symlink itself, not what it leads to
}

// openSocket opens the file, which must be a socket, without doing anything to it
// (O_PATH, open(2)).
func (f file) openSocket() (fd int, err error) {
	fd, err = unix.Open(f.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: f.shown, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return -1, errors.Join(fmt.Errorf("%s is there and is no socket; remove it", f.shown), err)
	}
	return fd, nil
}

// chmodSocket changes the mode of the socket and of nothing that may have taken its
// place.
func (f file) chmodSocket(mode fs.FileMode) error {
	fd, err := f.openSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f.failed("chmod", os.Chmod(procFD(fd), mode))
}

// failed returns the error of an operation with the path that is shown in the place of the
// one that the operation got; nil for nil.
func (f file) failed(operation string, err error) error {
	var netError *net.OpError
	var pathError *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &netError):
		err = netError.Err
	case errors.As(err, &pathError):
		err = pathError.Err
	}
	return &fs.PathError{Op: operation, Path: f.shown, Err: err}
}

// procFDs is the directory of our own descriptors (proc_pid_fd(5)).
const procFDs = "/proc/self/fd/"

func procFD(fd int) string { return procFDs + strconv.Itoa(fd) }
