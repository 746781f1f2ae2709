package launch

import (
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// connect makes sure that the plan's stream socket accepts connections, and hangs up.
// The path is walked once; what is connected to is the open socket itself.
//
// It connects from the payload's network namespace: the socket that the payload gets
// by accept(2) belongs to the namespace of whoever connects, and a payload with
// CAP_NET_ADMIN could ask it for the host's (SIOCGSKNS).
func (l Launcher) connect(d *document.Document) error {
	f := *d.Socket
	dir, err := openParent(f)
	if errors.Is(err, unix.ENOENT) {
		return notYet(err.Error())
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	pinned, err := openat2(int(dir.Fd()), path.Base(f.Path), f.String(), unix.O_PATH, resolveBeneath)
	if errors.Is(err, unix.ENOENT) {
		return notYet(err.Error())
	}
	if err != nil {
		return err
	}
	defer pinned.Close()
	st, err := statOf(pinned)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s: is not a socket (mode %#o)", f, st.Mode)
	}
	if err := l.connectTo(d, throughProc(pinned)); err != nil {
		return prefix(f.String(), err)
	}
	if st.Uid != d.User || st.Nlink != 1 {
		return nil // not a socket that the payload has made
	}
	return chownSocket(dir, pinned)
}

// chownSocket gives a socket of the payload to the directory's owner, who is the agent:
// a client that is root without CAP_DAC_OVERRIDE could not connect to it.
func chownSocket(dir, pinned *os.File) error {
	owner, err := statOf(dir)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(pinned.Fd()), "", int(owner.Uid), -1, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("giving %s to user %d: %v", pinned.Name(), owner.Uid, err)
	}
	return nil
}

// connectTo does not wait: a full queue (EAGAIN) and a socket that nobody
// listens on yet (ECONNREFUSED) are looked at again later (connect(2)).
func (l Launcher) connectTo(d *document.Document, address string) error {
	config, done, err := l.inNamespace(d)
	if err != nil {
		return err
	}
	defer done()
	conn, err := socket.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0, "ready", &config)
	if err != nil {
		return fmt.Errorf("making a socket: %v", err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var connectErr error
	if err := raw.Control(func(fd uintptr) { // it is non-blocking
		connectErr = unix.Connect(int(fd), &unix.SockaddrUnix{Name: address})
	}); err != nil {
		return err
	}
	switch connectErr {
	case nil:
		return nil
	case unix.EAGAIN, unix.ECONNREFUSED, unix.EINTR:
		return notYet(fmt.Sprintf("connecting: %v", connectErr))
	case unix.EPROTOTYPE:
		return errors.New("is not a stream socket")
	}
	return fmt.Errorf("connecting: %v", connectErr)
}
