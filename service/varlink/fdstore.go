package varlink

import (
	"net"
	"strconv"
	"time"

	"tripleo.io/sidecar/internal/sdnotify"
)

// notifyTimeout is how long systemd may be too busy to take a notification.
const notifyTimeout = 10 * time.Second

// FDStore keeps listeners over a restart of the daemon, in systemd's file
// descriptor store (FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of
// systemd.service(5)). Without a NOTIFY_SOCKET in the environment it keeps
// nothing, and Store and Unstore do nothing.
//
// The name of a stored descriptor is NAME.INODE, the inode being that of the
// socket's file: it tells after a restart whether the path still leads to the
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
