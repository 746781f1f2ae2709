package varlink

import (
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection. PID, UID and GID are those of
// the process that connected, as the host sees them (SO_PEERCRED, unix(7)).
type Peer struct {
	PID   int
	UID   uint32
	GID   uint32
	PIDFD int    // of that process; -1 if the kernel gives none (SO_PEERPIDFD, Linux 6.5). Owned by the connection
	Agent string // the listener it came in on; "" is the host's socket
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

// peerOf asks the kernel for the peer's credentials.
func peerOf(nc *net.UnixConn, agent string) (Peer, error) {
	var cred *unix.Ucred
	err := control(nc, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return Peer{}, err
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, PIDFD: -1, Agent: agent}, nil
}

// peerPIDFD returns a new pidfd of the peer, or -1.
func peerPIDFD(nc *net.UnixConn) int {
	pidfd := -1
	err := control(nc, func(fd int) (err error) {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if err != nil {
		return -1
	}
	return pidfd
}
