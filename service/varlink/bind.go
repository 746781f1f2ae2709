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
// anything else is refused. The directories must belong to the caller's user;
// their modes are set. That there is one daemon only is its own business.
func BindAgent(dir, agent string) (*net.UnixListener, error) {
	if !interfaces.ValidName(agent) {
		return nil, fmt.Errorf("not an agent's name: %.40q", agent)
	}
	if err := ensureDir(dir, agentsMode); err != nil {
		return nil, err
	}
	path := AgentSocket(dir, agent)
	if err := ensureDir(filepath.Dir(path), agentMode); err != nil {
		return nil, err
	}
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	return listen(path, socketMode)
}

// Bind listens at path, whose directory must be safe from others. A socket there
// on which nobody listens is replaced; anything else that is there is refused.
// The file stays when the listener is closed.
func Bind(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := refuseListening(path); err != nil {
		return nil, err
	}
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
	for _, p := range []string{path, filepath.Dir(path)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ensureDir makes a directory or sets the mode of the one that is there.
func ensureDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d and not to %d", path, stat.Uid, os.Geteuid())
	}
	return dir.Chmod(mode)
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

// refuseListening returns an error if somebody listens on the socket at path. A
// full backlog (EAGAIN) is somebody too.
func refuseListening(path string) error {
	fd, err := openSocket(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(probe)
	err = unix.Connect(probe, &unix.SockaddrUnix{Name: procFD(fd)})
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	return errors.Join(fmt.Errorf("somebody listens at %s", path), err)
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
