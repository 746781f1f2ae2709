package varlink

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
		return s.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+whole, unix.UnixRights(fd))
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
	if s.notify == "" {
		return nil
	}
	return s.send("FDSTOREREMOVE=1\nFDNAME="+whole, nil)
}

// send writes one notification. The socket can be abstract (a leading @), which
// package net knows about.
func (s *FDStore) send(state string, oob []byte) error {
	if !strings.HasPrefix(s.notify, "/") && !strings.HasPrefix(s.notify, "@") {
		return fmt.Errorf("NOTIFY_SOCKET is no unix socket: %q", s.notify)
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	return sendmsg(c, []byte(state), oob)
}

// sendmsg is WriteMsgUnix, which package net does not allow on a connected
// datagram socket.
func sendmsg(c *net.UnixConn, data, oob []byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), data, oob, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}
