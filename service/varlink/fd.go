package varlink

import "syscall"

// control calls f with the descriptor of a connection or listener. Unlike
// File().Fd() it leaves the descriptor non-blocking, so that closing it still
// wakes who waits for it.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
