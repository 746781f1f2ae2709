package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	// hostName is the host's socket in systemd's file descriptor store. No
	// agent's name has a capital letter.
	hostName = "HOST"
	// hostMode lets everybody connect; who may do what is decided by call.
	hostMode fs.FileMode = 0o666
	// directoryTimeout is how long the kernel may take for what is done in an
	// agent's directory, whose lock the agent can hold. Of each agent one such call
	// may hang, of all of them maxHanging.
	directoryTimeout = 2 * time.Second
	maxHanging       = 64
)

// errLate: the socket was bound after directoryTimeout.
var errLate = fmt.Errorf("it was bound after more than %v", directoryTimeout)

// listeners are the sockets that are served: the host's, and one for each agent.
// They are for the goroutine of the daemon's main loop.
type listeners struct {
	runtimeDirectory string
	server           *varlink.Server
	store            *varlink.FDStore
	logger           *slog.Logger
	calls            *bounded.Calls
	restored         map[string]*net.UnixListener // kept by systemd, not served yet
	served           map[string]listener
	wanted           map[string]bool
	reopening        map[string]bool // those that are going to be opened again
	due              chan failed     // what is to be opened again now
}

// listener is a socket, and its file's inode number.
type listener struct {
	*net.UnixListener
	inode uint64
	ended chan struct{} // closed when it is not served any more
}

func newListener(l *net.UnixListener, inode uint64) listener {
	return listener{l, inode, make(chan struct{})}
}

// openListeners takes over what systemd kept from the daemon before.
func openListeners(runtimeDirectory string, server *varlink.Server, logger *slog.Logger) (*listeners, error) {
	l := &listeners{
		runtimeDirectory: runtimeDirectory,
		server:           server,
		store:            varlink.NewFDStore(os.Getenv),
		logger:           logger,
		calls:            bounded.New(directoryTimeout, 1, maxHanging),
		served:           map[string]listener{},
		wanted:           map[string]bool{},
		reopening:        map[string]bool{},
		due:              make(chan failed),
	}
	if err := os.MkdirAll(l.agents(), 0o700); err != nil {
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

func (l *listeners) agents() string { return filepath.Join(l.runtimeDirectory, "agents") }

func (l *listeners) path(name string) string {
	if name == hostName {
		return filepath.Join(l.runtimeDirectory, "io.tripleo.Sidecar")
	}
	return varlink.AgentSocket(l.agents(), name)
}

// set serves the host's socket and the agents' sockets, and closes all others. It returns
// an error only if the host's socket fails. If an agent's socket fails, it logs that and
// tries again after a pause and at the next reload: the agent may have caused it, by
// putting something else in the socket's place.
func (l *listeners) set(ctx context.Context, agents []*policy.Agent) error {
	l.wanted = map[string]bool{hostName: true}
	for _, agent := range agents {
		l.wanted[agent.Name] = true
	}
	for _, look := range l.lookAtAll(ctx) {
		if err := l.open(ctx, look); err != nil {
			l.report(ctx, look.name, err)
		}
	}
	var gone []string
	for name := range l.served {
		if !l.wanted[name] {
			gone = append(gone, name)
		}
	}
	err := l.open(ctx, l.look(ctx, hostName))
	if err != nil {
		l.openLater(ctx, failed{name: hostName, pause: reopenPauseMin})
	}
	for name, listener := range l.restored {
		listener.Close()
		gone = append(gone, name)
	}
	clear(l.restored)
	l.drop(gone)
	return err
}

// look is what a look at a socket has found.
type look struct {
	name   string
	intact bool // it is served, and its file is there
	next   listener
	kept   bool // next is one that systemd has kept
	err    error
}

// lookAtAll looks at the agents' sockets at the same time: those that hang together
// take no longer than one.
func (l *listeners) lookAtAll(ctx context.Context) []look {
	var names []string
	for name := range l.wanted {
		if name != hostName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	looks := make([]look, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { looks[i] = l.look(ctx, name) })
	}
	all.Wait()
	return looks
}

// look finds out whether a socket is served and its file still there, and otherwise
// finds or makes the listener that is to be served.
func (l *listeners) look(ctx context.Context, name string) look {
	inode, err := l.inode(name)
	if served, ok := l.served[name]; ok && err == nil && inode == served.inode && !served.hasEnded() {
		return look{name: name, intact: true}
	}
	if kept, ok := l.restored[name]; ok && err == nil {
		return look{name: name, next: newListener(kept, inode), kept: true}
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

// report logs what is wrong with an agent's socket, and has it opened again later.
func (l *listeners) report(ctx context.Context, name string, err error) {
	l.logger.Error("an agent's socket", "agent", name, "error", err)
	l.openLater(ctx, failed{name: name, pause: reopenPauseMax})
}

// open serves what a look at a socket has found. A socket that is served stays if
// its file is still there; what took the file's place is replaced.
func (l *listeners) open(ctx context.Context, found look) error {
	before, isServed := l.served[found.name]
	isServed = isServed && !before.hasEnded()
	switch {
	case found.intact:
		return nil
	case found.err != nil && !isServed: // callers would wait in the queue of systemd's copy
		delete(l.served, found.name)
		return fmt.Errorf("socket of %s: %w", found.name, errors.Join(found.err, l.store.Unstore(found.name)))
	case found.err != nil:
		return fmt.Errorf("socket of %s: %w", found.name, found.err)
	case found.kept:
		delete(l.restored, found.name)
	default:
		l.keep(found)
	}
	if isServed {
		l.logger.Warn("the file of a socket was removed or replaced; it is there again", "listener", found.name)
		before.Close()
	}
	l.served[found.name] = found.next
	go l.serve(ctx, found.name, found.next)
	return nil
}

// keep has systemd keep a new listener, in the place of the one before.
func (l *listeners) keep(found look) {
	if old, ok := l.restored[found.name]; ok { // its file has gone since
		old.Close()
		delete(l.restored, found.name)
	}
	if err := l.store.Store(found.name, found.next.UnixListener, found.next.inode); err != nil {
		l.logger.Warn("systemd does not keep a listener; calls are refused while the daemon restarts", "listener", found.name, "error", err)
	}
}

func (l *listeners) inode(name string) (uint64, error) {
	if name == hostName {
		return varlink.InodeOf(l.path(name))
	}
	return bounded.Do(l.calls, name, func() (uint64, error) { return varlink.AgentInode(l.agents(), name) }, nil)
}

func (l *listeners) bind(ctx context.Context, name string) (listener, error) {
	if name == hostName {
		return bind(func() (*net.UnixListener, error) { return varlink.Bind(l.path(name), hostMode) },
			func() (uint64, error) { return varlink.InodeOf(l.path(name)) })
	}
	return bounded.Do(l.calls, name, func() (listener, error) {
		return bind(func() (*net.UnixListener, error) { return varlink.BindAgent(l.agents(), name) },
			func() (uint64, error) { return varlink.AgentInode(l.agents(), name) })
	}, func(late listener) {
		late.Close()
		// Its file is in the place of the one that is served.
		go l.announce(ctx, failed{name: name, was: late, pause: reopenPauseMin, err: errLate})
	})
}

// bind makes a listener and looks up the inode number of its file.
func bind(listen func() (*net.UnixListener, error), inode func() (uint64, error)) (listener, error) {
	made, err := listen()
	if err != nil {
		return listener{}, err
	}
	number, err := inode()
	if err != nil {
		made.Close()
	}
	return newListener(made, number), err
}

// drop ends the sockets of agents whose files have gone. Their sidecars go on: stopping
// them is the operator's decision. Directories that hang together take no longer than
// one.
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

// unbind removes the socket of an agent whose policy file has gone, and its directory. It
// logs the error, if there is one, together with an earlier one.
func (l *listeners) unbind(name string, earlier error) {
	err := bounded.Err(l.calls, name, func() error { return varlink.UnbindAgent(l.agents(), name) })
	if err = errors.Join(earlier, err); err != nil {
		l.logger.Error("the socket of an agent that has gone", "agent", name, "error", err)
	}
}
