package varlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/sdnotify"
)

// notifyTimeout is how long systemd may be too busy to take a notification.
const notifyTimeout = 10 * time.Second

// FDStore keeps listeners over a restart of the daemon, in systemd's file
// descriptor store (FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of
// systemd.service(5)). Without a NOTIFY_SOCKET in the environment it keeps
// nothing, and Store and Unstore do nothing.
//
// The name of a stored descriptor is NAME.INODE, with the inode of the
// socket's file, which tells after a restart whether the path still leads to the
// listener. An FDStore is for one goroutine.
type FDStore struct {
	notify string            // address of the notification socket
	stored map[string]string // name -> the whole name in the store
}

// NewFDStore takes the notification socket's address from the environment
// (getenv is os.Getenv).
func NewFDStore(getenv func(string) string) *FDStore {
	return &FDStore{notify: getenv("NOTIFY_SOCKET"), stored: map[string]string{}}
}

// Store hands a copy of the listener to systemd, which knows it by name (an
// agent's name, say: letters, digits, '-') and its file's inode number. A listener
// stored earlier under that name is dropped. Store does not wait for systemd.
func (s *FDStore) Store(name string, l *net.UnixListener, inode uint64) error {
	if s.notify == "" {
		return nil
	}
	whole := name + "." + strconv.FormatUint(inode, 10)
	old, ok := s.stored[name]
	if ok && old == whole { // file systems other than tmpfs use numbers again
		if err := s.forget(old); err != nil {
			return err
		}
	}
	err := control(l, func(fd int) error {
		return sdnotify.Send(s.notify, "FDSTORE=1\nFDPOLL=0\nFDNAME="+whole, notifyTimeout, fd)
	})
	if err != nil {
		return err
	}
	s.stored[name] = whole
	if ok && old != whole {
		return s.forget(old)
	}
	return nil
}

// Unstore takes back what Store gave to systemd, or Restored got from it.
func (s *FDStore) Unstore(name string) error {
	whole, ok := s.stored[name]
	if !ok {
		return nil
	}
	delete(s.stored, name)
	return s.forget(whole)
}

// forget drops a descriptor from the store.
func (s *FDStore) forget(whole string) error {
	return sdnotify.Send(s.notify, "FDSTOREREMOVE=1\nFDNAME="+whole, notifyTimeout)
}

// Place says where the socket of a name must be, and the inode number of what is
// there. The error says that it cannot be served.
type Place func(name string) (path string, inode uint64, err error)

// Restored returns the listeners that systemd has kept, by the name that Store was given, or
// by the FileDescriptorName= of a socket unit. It closes and drops from the store what does
// not fit (not a listening unix stream socket, another address, its file gone or replaced),
// and the error says what and why: the caller binds again. The variables LISTEN_PID,
// LISTEN_FDS and LISTEN_FDNAMES are unset (sd_listen_fds(3)). Restored must be called once,
// before the process opens much else.
func (s *FDStore) Restored(place Place) (map[string]*net.UnixListener, error) {
	listeners := map[string]*net.UnixListener{}
	var problems []error
	for _, file := range activation.Files(true) {
		whole := file.Name()
		if strings.HasPrefix(whole, "LISTEN_FD_") {
			whole = "" // go-systemd's name for a descriptor that systemd has stored without one
		}
		name, inode := splitName(whole)
		l, err := restore(file, name, inode, place)
		if err == nil && listeners[name] != nil {
			err = errors.Join(errors.New("another socket has this name"), l.Close())
		}
		if err == nil {
			listeners[name], s.stored[name] = l, whole
			continue
		}
		problems = append(problems, fmt.Errorf("stored socket %.80q: %w", whole, err))
		if s.stored[name] != whole { // the store drops all of one name
			problems = append(problems, s.forget(whole))
		}
	}
	return listeners, errors.Join(problems...)
}

// splitName takes NAME.INODE apart. A name without an inode is from a socket unit.
func splitName(whole string) (name, inode string) {
	if i := strings.LastIndexByte(whole, '.'); i >= 0 {
		if _, err := strconv.ParseUint(whole[i+1:], 10, 64); err == nil {
			return whole[:i], whole[i+1:]
		}
	}
	return whole, ""
}

// restore makes a listener of a file, which it takes over. inode is the stored one, or "".
func restore(file *os.File, name, inode string, place Place) (*net.UnixListener, error) {
	defer file.Close() // the listener has a copy of its own
	path, now, err := place(name)
	if err != nil {
		return nil, err
	}
	throughFD := inode != "" && interfaces.ValidName(name) // the host's name is no agent's
	if err := checkListening(file, path, throughFD); err != nil {
		return nil, err
	}
	if inode != "" && inode != strconv.FormatUint(now, 10) {
		return nil, fmt.Errorf("%s is another socket now", path)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("not a unix listener"), l.Close())
	}
	unixListener.SetUnlinkOnClose(false)
	return unixListener, nil
}

// checkListening asks the kernel whether the file is a stream socket that listens at
// path; for throughFD see boundAt.
func checkListening(file *os.File, path string, throughFD bool) error {
	return control(file, func(fd int) error {
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
	})
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
