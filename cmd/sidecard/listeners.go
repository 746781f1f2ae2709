package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/varlink"
)

const (
	// hostName is the host's socket in systemd's file descriptor store. No agent's name
	// has a capital letter.
	hostName = "HOST"
	// hostMode lets everybody connect; each call is authorised.
	hostMode fs.FileMode = 0o666
	// directoryTimeout bounds a call in an agent's directory, whose lock the agent can hold.
	// One call of each agent may hang, and maxHanging of all agents.
	directoryTimeout = 2 * time.Second
	maxHanging       = 64
)

// errLate is the error of a socket that was bound after directoryTimeout.
var errLate = fmt.Errorf("it was bound after more than %v", directoryTimeout)

// listeners are the sockets that are served: the host's, and one for each agent. Only the
// daemon's main loop uses them.
type listeners struct {
	runtimeDirectory string
	agents           string // the directory of the agents' directories
	server           *varlink.Server
	store            *varlink.FDStore
	logger           *slog.Logger
	calls            *bounded.Calls
	restored         map[string]*net.UnixListener // kept by systemd, not served yet
	served           map[string]listener
	wanted           map[string]bool
	reopening        map[string]bool // not served, and waiting to be opened again
	due              chan failed     // to be opened again now
}

// listener is a socket, and its file's inode number.
type listener struct {
	*net.UnixListener
	inode uint64
	ended chan struct{} // closed when serving has ended
}

// openListeners takes over what systemd kept from the daemon before.
func openListeners(runtimeDirectory string, server *varlink.Server, logger *slog.Logger) (*listeners, error) {
	l := &listeners{
		runtimeDirectory: runtimeDirectory,
		agents:           filepath.Join(runtimeDirectory, "agents"),
		server:           server,
		store:            varlink.NewFDStore(os.Getenv),
		logger:           logger,
		calls:            bounded.New(directoryTimeout, 1, maxHanging),
		served:           map[string]listener{},
		wanted:           map[string]bool{},
		reopening:        map[string]bool{},
		due:              make(chan failed),
	}
	if err := os.MkdirAll(l.agents, 0o700); err != nil {
		return nil, err
	}
	var err error
	l.restored, err = l.store.Restored(func(name string) (string, uint64, error) {
		inode, err := l.inode(name)
		return l.path(name), inode, err
	})
	if err != nil {
		logger.Warn("some listeners were not kept and are opened again", "error", err)
	}
	return l, nil
}

func (l *listeners) path(name string) string {
	if name == hostName {
		return filepath.Join(l.runtimeDirectory, "io.tripleo.Sidecar")
	}
	return varlink.AgentSocket(l.agents, name)
}

// set serves the host's socket and the agents' sockets, and closes all others. It returns
// the error of the host's socket only; an agent may have caused the error of its own, by
// putting something else in the socket's place. Sockets that fail are opened again after a
// pause, and at the next reload.
func (l *listeners) set(ctx context.Context, agents []*policy.Agent) (err error) {
	l.wanted = map[string]bool{hostName: true}
	for _, agent := range agents {
		l.wanted[agent.Name] = true
	}
	for _, found := range l.lookAtAll(ctx) {
		switch failure := l.open(ctx, found); {
		case failure == nil:
		case found.name == hostName:
			err = failure
			l.openLater(ctx, failed{name: hostName, pause: reopenPauseMin})
		default:
			l.logger.Error("cannot serve an agent's socket", "agent", found.name, "error", failure)
			l.openLater(ctx, failed{name: found.name, pause: reopenPauseMax})
		}
	}
	var gone []string
	for name := range l.served {
		if !l.wanted[name] {
			gone = append(gone, name)
		}
	}
	for name, listener := range l.restored {
		listener.Close()
		gone = append(gone, name)
	}
	clear(l.restored)
	l.drop(gone)
	return err
}

// look is the result of a look at a socket.
type look struct {
	name   string
	intact bool // it is served, and its file exists
	next   listener
	err    error
}

// lookAtAll looks at all sockets at the same time: looks that hang together take no longer
// than one.
func (l *listeners) lookAtAll(ctx context.Context) []look {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(l.wanted)), func(name string) bool { return name == hostName })
	names = append(names, hostName) // last: its callers find the agents served
	looks := make([]look, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { looks[i] = l.look(ctx, name) })
	}
	all.Wait()
	return looks
}

// look finds out whether a socket is served and its file still exists, and otherwise finds
// or makes the listener to be served.
func (l *listeners) look(ctx context.Context, name string) look {
	inode, err := l.inode(name)
	if served, ok := l.served[name]; ok && err == nil && inode == served.inode && !served.hasEnded() {
		return look{name: name, intact: true}
	}
	if kept, ok := l.restored[name]; ok && err == nil {
		return look{name: name, next: listener{kept, inode, make(chan struct{})}}
	}
	next, err := l.bind(ctx, name)
	return look{name: name, next: next, err: err}
}

func (l listener) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// open serves the result of a look. A socket that is served stays if its file still exists;
// a file in its place is replaced.
func (l *listeners) open(ctx context.Context, found look) error {
	before, isServed := l.served[found.name]
	isServed = isServed && !before.hasEnded()
	switch {
	case found.intact:
		return nil
	case found.err != nil && !isServed: // callers would wait in the queue of the copy that systemd keeps
		delete(l.served, found.name)
		return fmt.Errorf("socket of %s: %w", found.name, errors.Join(found.err, l.store.Unstore(found.name)))
	case found.err != nil:
		return fmt.Errorf("socket of %s: %w", found.name, found.err)
	}
	l.keep(found)
	if isServed {
		l.logger.Warn("the file of a socket was removed or replaced, and has been made again", "listener", found.name)
		before.Close()
	}
	l.served[found.name] = found.next
	go l.serve(ctx, found.name, found.next)
	return nil
}

// keep has systemd keep a listener, in the place of the one before, unless it does already.
func (l *listeners) keep(found look) {
	if old, ok := l.restored[found.name]; ok {
		delete(l.restored, found.name)
		if old == found.next.UnixListener {
			return
		}
		old.Close() // its file does not exist any more
	}
	if err := l.store.Store(found.name, found.next.UnixListener, found.next.inode); err != nil {
		l.logger.Warn("systemd does not keep a listener; calls are refused while the daemon restarts", "listener", found.name, "error", err)
	}
}

// inode returns the inode number of a socket's file, in time.
func (l *listeners) inode(name string) (uint64, error) {
	if name == hostName {
		return l.inodeOf(name)
	}
	return bounded.Do(l.calls, name, func() (uint64, error) { return l.inodeOf(name) }, nil)
}

func (l *listeners) inodeOf(name string) (uint64, error) {
	if name == hostName {
		return varlink.InodeOf(l.path(name))
	}
	return varlink.AgentInode(l.agents, name)
}

// bind makes a socket, in time. A socket that is bound late is in the place of the one that
// is served, and is opened again.
func (l *listeners) bind(ctx context.Context, name string) (listener, error) {
	if name == hostName {
		made, err := varlink.Bind(l.path(name), hostMode)
		return l.bound(name, made, err)
	}
	return bounded.Do(l.calls, name, func() (listener, error) {
		made, err := varlink.BindAgent(l.agents, name)
		return l.bound(name, made, err)
	}, func(late listener) {
		late.Close()
		go l.announce(ctx, failed{name: name, was: late, pause: reopenPauseMin, err: errLate})
	})
}

// bound looks up the inode number of a socket that was just bound.
func (l *listeners) bound(name string, made *net.UnixListener, err error) (listener, error) {
	if err != nil {
		return listener{}, err
	}
	inode, err := l.inodeOf(name)
	if err != nil {
		made.Close()
	}
	return listener{made, inode, make(chan struct{})}, err
}

// drop ends the sockets of agents that were removed. Their sidecars go on: stopping them is
// the operator's decision. Directories that hang together take no longer than one.
func (l *listeners) drop(names []string) {
	var all sync.WaitGroup
	for _, name := range names {
		delete(l.served, name)
		l.server.Remove(name)
		unstored := l.store.Unstore(name)
		all.Go(func() { l.unbind(name, unstored) })
	}
	all.Wait()
}

// unbind removes the socket of an agent that was removed, and its directory. It logs its
// error and an earlier one.
func (l *listeners) unbind(name string, earlier error) {
	err := bounded.Err(l.calls, name, func() error { return varlink.UnbindAgent(l.agents, name) })
	if err = errors.Join(earlier, err); err != nil {
		l.logger.Error("cannot remove the socket of a removed agent", "agent", name, "error", err)
	}
}
