package varlink

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service"
)

// callerAttr is how the log names a caller.
func callerAttr(c service.Caller) slog.Attr {
	return slog.Group("peer", "agent", c.Agent, "pid", c.PID, "uid", c.UID)
}

// callerOf asks the kernel for the peer's credentials and a new pidfd.
func callerOf(nc *net.UnixConn, agent string) (service.Caller, error) {
	caller := service.Caller{PIDFD: -1, Agent: agent}
	err := control(nc, func(fd int) error {
		credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		caller.PID, caller.UID = int(credentials.Pid), credentials.Uid
		if pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			caller.PIDFD = pidfd
		}
		return nil
	})
	return caller, err
}

// errHangup is the cause of a context that ended because the peer went away.
var errHangup = errors.New("the peer has hung up")

// watchHangup calls gone when the peer closes its end, until stop is called. The error is
// errHangup if the peer has closed its end already. Nobody may read from the connection in
// between. It uses the runtime's poller, which sees every edge, so it costs a goroutine and
// no thread; bytes that wait to be read do not hide the end from it.
func watchHangup(nc *net.UnixConn, gone func()) (stop func(), err error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	left := false
	if err := raw.Control(func(fd uintptr) { left = hungUp(fd) }); err != nil {
		return nil, err
	}
	if left {
		return nil, errHangup
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if raw.Read(hungUp) == nil {
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
func hungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR need not be asked for
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// control calls f with the descriptor of a connection or listener. Unlike File().Fd() it
// leaves the descriptor non-blocking, so that closing it still wakes whoever waits for it.
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
