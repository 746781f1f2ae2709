package varlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// conn is one connection.
type conn struct {
	server *Server
	net    *net.UnixConn
	caller service.Caller
	cancel context.CancelFunc // ends the context of its call

	writing sync.Mutex

	idle atomic.Pointer[time.Time] // since when no message is begun and no call carried out; nil: one is

	mu     sync.Mutex
	called bool // it has had a call
	busy   bool // a call is being carried out
}

// firstCall is how long a connection that has had no call may take for it when the server ends:
// the call may be on the way.
const firstCall = time.Second

// serve handles calls until the peer goes away or breaks the rules, or the
// server ends.
func (c *conn) serve(ctx context.Context) {
	frames := newFrameReader(c, c.server.limits)
	for {
		if !frames.begun() {
			c.idle.Store(new(time.Now()))
		}
		frame, err := frames.next()
		if err != nil {
			c.ended(err)
			return
		}
		if !c.begin() {
			return
		}
		err = c.handle(ctx, frame)
		if !c.done() || err != nil {
			c.ended(err)
			return
		}
	}
}

// Read is for the frame reader. With the first byte of a message the connection is not
// idle any more.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.net.Read(p)
	if n > 0 {
		c.idle.Store(nil)
	}
	return n, err
}

// SetReadDeadline is for the frame reader.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.ending.Err() != nil && c.server.lastRead.Before(t) {
		t = c.server.lastRead
	}
	return c.net.SetReadDeadline(t)
}

// handle carries out one call. Its error ends the connection. The context of the call ends
// when the peer goes away, and the call of a peer that has left is not begun; a oneway call
// is carried out even if its sender has left.
func (c *conn) handle(ctx context.Context, frame []byte) error {
	envelope, err := parseEnvelope(frame)
	if err != nil {
		return err
	}
	call := &Call{envelope, c}
	if call.Upgrade {
		c.server.rejected(service.RejectedAsMalformed)
		return call.replyError(&interfaces.InvalidParameterError{
			Parameter: "upgrade", Reason: "no method upgrades the connection",
		})
	}
	caller := c.caller
	caller.Oneway = call.Oneway
	if !call.Oneway {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		stop, err := watchHangup(c.net, func() { cancel(errHangup) })
		if err != nil {
			return err
		}
		defer stop()
	}
	return c.server.dispatch(ctx, caller, call, frame)
}

// write sends frames, within the deadline. Its error is errWrite.
func (c *conn) write(frames []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.net.SetWriteDeadline(time.Now().Add(c.server.limits.WriteTimeout))
	if err == nil {
		_, err = c.net.Write(frames)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// begin reports whether a call may be begun.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = !c.called || c.server.ending.Err() == nil
	c.called = true
	return c.busy
}

// done reports whether another call may follow.
func (c *conn) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return c.server.ending.Err() == nil
}

// closeUnlessBusy closes a connection on which no call is carried out, at once or, if it has
// had none, in a moment. The server's ending must have begun: then a call that is carried out
// is the last one.
func (c *conn) closeUnlessBusy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.busy:
	case c.called:
		_ = c.net.Close()
	default:
		_ = c.net.SetReadDeadline(c.server.lastRead)
	}
}

// kill ends the connection and the context of its call, in this order, so that
// the peer sees no answer to a call that was cut off.
func (c *conn) kill() {
	_ = c.net.Close()
	c.cancel()
}

// close gives back what the connection holds. The pidfd is closed last, when no
// handler can use it any more.
func (c *conn) close() {
	c.kill()
	if c.caller.PIDFD >= 0 {
		_ = unix.Close(c.caller.PIDFD)
	}
}

// ended logs why the connection ends, if the peer is to blame.
func (c *conn) ended(err error) {
	usual := err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ECONNRESET) ||
		errors.Is(err, errHangup) || errors.Is(err, errWrite) || errors.Is(err, errPanic)
	if !usual {
		reason := service.RejectedAsMalformed
		if errors.Is(err, errFrameTooLong) {
			reason = service.RejectedByLimit
		}
		c.server.rejected(reason)
		c.server.throttle.warn(c.caller, "connection closed: protocol violation", err)
	}
}
