package launch

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// connect makes sure that a stream socket accepts connections, and hangs up.
// The path is walked once; what is connected to is the open socket itself.
func connect(f File) error {
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
	return prefix(f.String(), connectTo(throughProc(pinned)))
}

// connectTo does not wait: a full queue (EAGAIN) and a socket that nobody
// listens on yet (ECONNREFUSED) are looked at again later (connect(2)).
func connectTo(address string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket: %v", err)
	}
	defer unix.Close(fd)
	switch err = unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err {
	case nil:
		return nil
	case unix.EAGAIN, unix.ECONNREFUSED, unix.EINTR:
		return notYet(fmt.Sprintf("connecting: %v", err))
	case unix.EPROTOTYPE:
		return errors.New("is not a stream socket")
	}
	return fmt.Errorf("connecting: %v", err)
}
