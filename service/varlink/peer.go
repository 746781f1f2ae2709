package varlink

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a connection. PID, UID and GID are those of
// the process that connected, as the host sees them (SO_PEERCRED, unix(7)).
type Peer struct {
	PID   int
	UID   uint32
	GID   uint32
	PIDFD int    // of that process; -1 if the kernel gives none (SO_PEERPIDFD, Linux 6.5). Owned by the connection
	Agent string // whose listener accepted the connection; "" is the host's socket
	// Oneway says that the peer does not wait for the answer of this call, and that the
	// call goes on if it leaves.
	Oneway bool
}

// limitKey names the peer for limits: its agent, or its user.
func (p Peer) limitKey() string {
	if p.Agent != "" {
		return "agent " + p.Agent
	}
	return fmt.Sprintf("user %d", p.UID)
}

func (p Peer) log() slog.Attr {
	return slog.Group("peer", "agent", p.Agent, "pid", p.PID, "uid", p.UID)
}

// peerOf asks the kernel for the peer's credentials and a new pidfd.
func peerOf(nc *net.UnixConn, agent string) (Peer, error) {
	peer := Peer{PIDFD: -1, Agent: agent}
	err := control(nc, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		peer.PID, peer.UID, peer.GID = int(cred.Pid), cred.Uid, cred.Gid
		if pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			peer.PIDFD = pidfd
		}
		return nil
	})
	return peer, err
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
