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
	agentsMode = 0o700 // the directory of all agents: only root may look for other agents
	agentMode  = 0o755 // an agent's own directory, which is mounted into its container
	socketMode = 0o666 // whoever has the mount may connect, whatever the agent's user is
)

// AgentSocket returns the path of an agent's socket below dir.
func AgentSocket(dir, agent string) string {
	return filepath.Join(dir, agent, interfaces.Name)
}

// BindAgent makes an agent's directory below dir and listens in it. The agent's container may
// be able to write into that directory, so BindAgent follows and believes nothing in it: it
// replaces a socket there, even if another process listens on it, and refuses anything else.
// It refuses a directory that something is mounted over without asking the file system there.
// The directories must belong to the caller's user; their modes are set.
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
	return fileIn(directory, path).bind(socketMode)
}

// Bind listens at path, whose directory must be safe from others. It replaces a socket
// there, even if another process listens on it, and refuses anything else. The file stays
// when the listener is closed.
func Bind(path string, mode fs.FileMode) (*net.UnixListener, error) {
	return file{path, path}.bind(mode)
}

// UnbindAgent removes what BindAgent made for an agent. It leaves another file in the
// directory, and the directory with it.
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
	if err := fileIn(directory, path).unlink(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(directory.Name())
}

// InodeOf returns the inode number of the socket at path, whose directory must be
// safe from others. It changes when another process replaces the socket.
func InodeOf(path string) (uint64, error) { return file{path, path}.inode() }

// AgentInode is InodeOf of an agent's socket, with BindAgent's precautions.
func AgentInode(dir, agent string) (uint64, error) {
	path := AgentSocket(dir, agent)
	directory, err := openDir(filepath.Dir(path), unix.RESOLVE_NO_XDEV)
	if err != nil {
		return 0, err
	}
	defer directory.Close()
	return fileIn(directory, path).inode()
}

// ensureDir makes a directory, unless it exists, sets its mode and opens it.
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

// openDir opens a directory that is not a symbolic link and, with RESOLVE_NO_XDEV,
// not a mount point (openat2(2)). The kernel refuses a mount point before it asks the
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

// file is a file by the path that system calls get, and by the path that errors have.
type file struct{ path, shown string }

// fileIn is the file at path in its open directory, whose name another directory may have
// by now.
func fileIn(directory *os.File, path string) file {
	return file{procFD(int(directory.Fd())) + "/" + filepath.Base(path), path}
}

func (f file) bind(mode fs.FileMode) (*net.UnixListener, error) {
	_, err := f.inode()
	if err == nil {
		err = f.unlink() // whatever has taken its place since: a symlink itself, not its target
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.path, Net: "unix"})
	var failed *net.OpError
	if errors.As(err, &failed) {
		return nil, f.failed("listen", failed.Err)
	}
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := f.chmod(mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// open opens the file, which must be a socket, without doing anything to it
// (O_PATH, open(2)).
func (f file) open() (fd int, stat unix.Stat_t, err error) {
	fd, err = unix.Open(f.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, stat, f.failed("open", err)
	}
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return -1, stat, errors.Join(fmt.Errorf("%s exists and is not a socket; remove it", f.shown), err)
	}
	return fd, stat, nil
}

func (f file) inode() (uint64, error) {
	fd, stat, err := f.open()
	if err != nil {
		return 0, err
	}
	unix.Close(fd)
	return stat.Ino, nil
}

func (f file) unlink() error { return f.failed("remove", unix.Unlink(f.path)) }

// chmod changes the mode of the socket and of nothing that may have taken its place.
func (f file) chmod(mode fs.FileMode) error {
	fd, _, err := f.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f.failed("chmod", unix.Chmod(procFD(fd), uint32(mode.Perm())))
}

// failed is the error of an operation with the path that is shown; nil for nil.
func (f file) failed(operation string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: operation, Path: f.shown, Err: err}
}

// procFDs is the directory of our own descriptors (proc_pid_fd(5)).
const procFDs = "/proc/self/fd/"

func procFD(fd int) string { return procFDs + strconv.Itoa(fd) }
