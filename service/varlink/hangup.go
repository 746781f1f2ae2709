package varlink

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// errHangup is the cause of a context that ended because the peer went away.
var errHangup = errors.New("the peer has hung up")

// checkHangup returns errHangup if the peer has closed its end already.
func checkHangup(nc *net.UnixConn) error {
	return control(nc, func(fd int) error {
		if hungUp(fd) {
			return errHangup
		}
		return nil
	})
}

// watchHangup calls gone when the peer closes its end, until stop is called.
// Nobody may read from the connection in between. It uses the runtime's poller,
// which sees every edge, so it costs a goroutine and no thread; bytes that wait
// to be read do not hide the end from it.
func watchHangup(nc *net.UnixConn, gone func()) (stop func(), err error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if raw.Read(func(fd uintptr) bool { return hungUp(int(fd)) }) == nil {
			gone()
		}
	}()
	return func() {
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // fails only if closed, which ends the wait too
		<-done
	}, nil
}

// hungUp reports whether the peer has closed both directions. A half-closed one
// (POLLRDHUP alone) still reads.
func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR need not be asked for
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
