package varlink

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Serve accepts connections of an agent ("": the host's socket) until ctx ends
// or the listener is closed, and then returns nil. It takes the listener over and
// closes it; the file of a socket made by Bind stays. Connections go on after Serve has
// returned: Remove and Shutdown end them.
//
// Serve goes on after every error of accept(2), because every one may be temporary. For
// example, it gets ENOSPC while other programs of root use up root's epoll watches
// (max_user_watches in epoll(7)).
func (s *Server) Serve(ctx context.Context, l *net.UnixListener, agent string) error {
	defer l.Close()
	// Shutdown waits for this, too: what was accepted is served.
	if !s.add(func() { s.listeners[l] = agent; s.running.Add(1) }) {
		return ErrServerClosed
	}
	defer s.running.Done()
	defer s.change(func() { delete(s.listeners, l) })
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
		if !s.room(ctx, l, agent) {
			return
		}
		nc, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = acceptPauseMin
			s.admit(ctx, nc, agent)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.throttle.warn(service.Caller{Agent: agent}, "cannot accept connections for now", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			case <-s.ending.Done():
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// room waits until the agent may have one more connection. It does not wait on the host's
// socket, which has many users. false: accepting has ended meanwhile, and who waits in the queue
// is for the next daemon.
//
// Over its limit, an agent's callers wait in the kernel's queue of the listener (listen(2))
// and are not hung up on: a burst of hundreds of short calls must lose none, and only this
// agent is in that queue. While callers wait there, the agent's idle connections are closed.
func (s *Server) room(ctx context.Context, l acceptor, agent string) bool {
	for agent != "" {
		full, released := s.connections.agents.KeyFull(service.Caller{Agent: agent}.LimitKey())
		if !full {
			return true
		}
		if l.waiting() {
			s.closeLongestIdle(agent, time.Now().Add(-s.limits.IdleTimeoutFull))
		}
		select {
		case <-released:
		case <-time.After(s.limits.IdleTimeoutFull / 5):
		case <-ctx.Done():
			return false
		case <-s.ending.Done():
			return false
		}
	}
	return true
}

// closeLongestIdle closes the agent's connection that has been idle longest, if it has
// been idle since before.
func (s *Server) closeLongestIdle(agent string, before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest *conn
	for c := range s.conns {
		since := c.idle.Load()
		if c.caller.Agent == agent && since != nil && since.Before(before) {
			longest, before = c, *since
		}
	}
	// A peer that sends at this very moment sees what it would see after IdleTimeout.
	if longest != nil && longest.idle.Load() != nil {
		_ = longest.net.Close()
	}
}

// admit starts to serve a connection, if the limits let it in.
func (s *Server) admit(ctx context.Context, nc *net.UnixConn, agent string) {
	caller, err := callerOf(nc, agent)
	// Remove and Shutdown end the calls; the end of accepting does not.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &conn{server: s, net: nc, caller: caller, cancel: cancel}
	if err == nil {
		if err = s.connections.enter(caller); err != nil {
			s.rejected(service.RejectedByLimit)
		}
	}
	if err != nil {
		s.throttle.warn(caller, "connection refused", err)
		c.close()
		return
	}
	s.change(func() { s.conns[c] = struct{}{}; s.running.Add(1) })
	go s.serveConn(ctx, c)
}

func (s *Server) serveConn(ctx context.Context, c *conn) {
	defer s.running.Done()
	defer s.connections.leave(c.caller)
	defer c.close()
	defer s.change(func() { delete(s.conns, c) })
	defer func() {
		if value := recover(); value != nil {
			s.log.Error("panic on a connection", callerAttr(c.caller), "panic", value, "stack", string(debug.Stack()))
		}
	}()
	c.serve(ctx)
}
