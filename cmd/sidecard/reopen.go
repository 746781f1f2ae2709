package main

import (
	"context"
	"errors"
	"time"

	"tripleo.io/sidecar/service/varlink"
)

// The pause before a socket is opened again. It doubles with every failure.
const (
	reopenPauseMin = time.Second
	reopenPauseMax = time.Minute
)

// failed is a socket that has ended or could not be opened, and is opened again later.
type failed struct {
	name  string
	was   listener // empty if it could not be opened
	pause time.Duration
	err   error
}

// serve serves a socket until its agent is removed or the daemon ends. A socket that ends
// for another reason is opened again.
func (l *listeners) serve(ctx context.Context, name string, served listener) {
	agent := name
	if name == hostName {
		agent = ""
	}
	err := l.server.Serve(ctx, served.UnixListener, agent)
	close(served.ended)
	if !errors.Is(err, varlink.ErrServerClosed) {
		l.announce(ctx, failed{name: name, was: served, pause: reopenPauseMin, err: err})
	}
}

// announce tells the main loop of the socket after the pause.
func (l *listeners) announce(ctx context.Context, f failed) {
	select {
	case <-time.After(f.pause):
	case <-ctx.Done():
		return
	}
	select {
	case l.due <- f:
	case <-ctx.Done():
	}
}

// openLater has a socket that is not served opened again.
func (l *listeners) openLater(ctx context.Context, f failed) {
	if !l.reopening[f.name] {
		l.reopening[f.name] = true
		go l.announce(ctx, f)
	}
}

// reopen opens a socket again, unless its agent was removed or it is served already. If the
// socket was bound late and its agent was removed, reopen removes the socket, too.
func (l *listeners) reopen(ctx context.Context, f failed) {
	if f.was.UnixListener == nil {
		delete(l.reopening, f.name)
	}
	if !l.wanted[f.name] {
		if errors.Is(f.err, errLate) {
			l.unbind(f.name, nil)
		}
		return
	}
	found := l.look(ctx, f.name)
	if found.intact {
		return
	}
	if f.was.UnixListener != nil {
		l.logger.Error("a listener has ended and is opened again", "listener", f.name, "error", f.err)
	}
	if err := l.open(ctx, found); err != nil {
		pause := min(2*f.pause, reopenPauseMax)
		l.logger.Error("cannot open a listener again", "listener", f.name, "error", err, "again_in", pause)
		l.openLater(ctx, failed{name: f.name, pause: pause})
	}
}
