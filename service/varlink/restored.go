package varlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// firstFD is the first descriptor that systemd passes (SD_LISTEN_FDS_START).
const firstFD = 3

// Place says where the socket of a name must be, and the inode number of what is
// there. The error says that it cannot be served.
type Place func(name string) (path string, inode uint64, err error)

// Restored returns the listeners that systemd has kept, by the name that Store
// was given, or by the FileDescriptorName= of a socket unit. What does not fit (no
// listening unix stream socket, another address, its file gone or replaced) is
// closed and dropped from the store, and the error says what and why: the caller
// binds again. The variables LISTEN_PID, LISTEN_FDS and
// LISTEN_FDNAMES are unset. It is to be called once, before the process opens
// much else.
func (s *FDStore) Restored(place Place) (map[string]*net.UnixListener, error) {
	listeners := map[string]*net.UnixListener{}
	var problems []error
	for i, whole := range takeNames() {
		name, inode := splitName(whole)
		l, err := restore(firstFD+i, name, inode, func() (string, uint64, error) { return place(name) })
		if err == nil && listeners[name] != nil {
			err = errors.Join(errors.New("there are two"), l.Close())
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("stored socket %.80q: %w", whole, err))
			if s.stored[name] != whole { // the store drops all of one name
				problems = append(problems, s.forget(whole))
			}
			continue
		}
		listeners[name] = l
		s.stored[name] = whole
	}
	return listeners, errors.Join(problems...)
}

// splitName takes NAME.INODE apart. A name without an inode is one of a socket
// unit.
func splitName(whole string) (name, inode string) {
	i := strings.LastIndexByte(whole, '.')
	if i < 0 {
		return whole, ""
	}
	if _, err := strconv.ParseUint(whole[i+1:], 10, 64); err != nil {
		return whole, ""
	}
	return whole[:i], whole[i+1:]
}

// takeNames reads and unsets the environment of sd_listen_fds_with_names(3). It
// returns a name for each descriptor.
func takeNames() []string {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, variable := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(variable)
	}
	n, err := strconv.ParseUint(fds, 10, 16)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	all := make([]string, n)
	copy(all, strings.Split(names, ":"))
	return all
}

// restore makes a listener of a descriptor, which it takes over.
func restore(fd int, name, inode string, place func() (string, uint64, error)) (*net.UnixListener, error) {
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, unix.EBADF
	}
	defer file.Close() // the listener has a copy of its own
	want, now, err := place()
	if err != nil {
		return nil, err
	}
	throughFD := inode != "" && interfaces.ValidName(name) // the host's name is no agent's
	if err := checkListening(fd, want, throughFD); err != nil {
		return nil, err
	}
	if inode != "" && inode != strconv.FormatUint(now, 10) {
		return nil, fmt.Errorf("%s is another socket now", want)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("no unix listener"), l.Close())
	}
	unixListener.SetUnlinkOnClose(false)
	return unixListener, nil
}

// checkListening asks the kernel whether fd is a stream socket that listens at
// path; for throughFD see boundAt.
func checkListening(fd int, path string, throughFD bool) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return err
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	local, ok := address.(*unix.SockaddrUnix)
	if !ok || !boundAt(local.Name, path, throughFD) || kind != unix.SOCK_STREAM || listening != 1 {
		return fmt.Errorf("not a stream socket that listens at %s", path)
	}
	return nil
}

// boundAt reports whether a socket of this address may be the one at path. An agent's socket
// was bound through a descriptor of its directory (BindAgent), so that its address does not
// name the directory: throughFD accepts such an address, and the caller must compare the
// inode numbers.
func boundAt(address, path string, throughFD bool) bool {
	number, isFD := strings.CutPrefix(filepath.Dir(address), procFDs)
	if _, err := strconv.ParseUint(number, 10, 32); throughFD && isFD && err == nil {
		return filepath.Base(address) == filepath.Base(path)
	}
	return address == path
}
