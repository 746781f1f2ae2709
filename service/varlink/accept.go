package varlink

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Serve accepts connections of an agent ("": the host's socket) until ctx ends
// or the listener is closed, and then returns nil. It takes the listener over and
// closes it; one of Bind leaves the socket's file. Connections go on after it
// returned: Remove and Shutdown end them.
//
// Serve goes on after every error of accept(2), because every one may be temporary. For
// example, it gets ENOSPC while other programs of root use up root's epoll watches
// (max_user_watches in epoll(7)).
func (s *Server) Serve(ctx context.Context, l *net.UnixListener, agent string) error {
	defer l.Close()
	if !s.addListener(l, agent) {
		return ErrServerClosed
	}
	defer s.dropListener(l)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	s.accept(ctx, socket{l}, agent)
	return nil
}

// acceptor is the accept loop's view of a listener.
type acceptor interface {
	AcceptUnix() (*net.UnixConn, error)
	// waiting reports whether a connection waits to be accepted.
	waiting() bool
}

// socket is the acceptor of a real listener.
type socket struct{ *net.UnixListener }

// waiting asks the kernel (POLLIN, poll(2)).
func (s socket) waiting() bool {
	found := false
	err := control(s, func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		found = n > 0
		return err
	})
	return err == nil && found
}

func (s *Server) accept(ctx context.Context, l acceptor, agent string) {
	for pause := acceptPauseMin; ; {
		s.room(ctx, l, agent)
		nc, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = acceptPauseMin
			s.admit(ctx, nc, agent)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.throttle.warn(Peer{Agent: agent}, "cannot accept connections for now", err)
			sleep(ctx, pause)
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// admit starts to serve a connection, if the limits let it in.
func (s *Server) admit(ctx context.Context, nc *net.UnixConn, agent string) {
	peer, err := peerOf(nc, agent)
	if err == nil {
		err = s.gate.enter(peer)
	}
	if err != nil {
		s.throttle.warn(peer, "connection refused", err)
		_ = nc.Close()
		return
	}
	peer.PIDFD = peerPIDFD(nc)
	// What ends the calls is Remove and Shutdown, not the end of accepting.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &conn{server: s, net: nc, peer: peer, cancel: cancel}
	if !s.addConn(c) {
		s.gate.leave(peer)
		c.close()
		return
	}
	go s.serveConn(ctx, c)
}

func (s *Server) serveConn(ctx context.Context, c *conn) {
	defer s.dropConn(c)
	defer func() {
		if value := recover(); value != nil {
			s.log.Error("panic on a connection", c.peer.log(), "panic", value, "stack", string(debug.Stack()))
		}
	}()
	c.serve(ctx)
}

func (s *Server) addListener(l *net.UnixListener, agent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[l] = agent
	}
	return !s.closing
}

func (s *Server) dropListener(l *net.UnixListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) addConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) dropConn(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.close()
	s.gate.leave(c.peer)
	s.running.Done()
}
