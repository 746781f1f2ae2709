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

	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/varlink"
)

const (
	// hostName is the host's socket in systemd's file descriptor store. No
	// agent's name has a capital letter.
	hostName = "HOST"
	// hostMode lets everybody connect; who may do what is decided by call.
	hostMode fs.FileMode = 0o666
)

// listeners are the sockets that are served: the host's, and one for each agent.
type listeners struct {
	runtimeDirectory string
	server           *varlink.Server
	store            *varlink.FDStore
	logger           *slog.Logger
	restored         map[string]*net.UnixListener // kept by systemd, not served yet

	mu     sync.Mutex
	served map[string]bool
}

// openListeners takes over what systemd kept from the daemon before.
func openListeners(runtimeDirectory string, server *varlink.Server, logger *slog.Logger) (*listeners, error) {
	l := &listeners{
		runtimeDirectory: runtimeDirectory,
		server:           server,
		store:            varlink.NewFDStore(os.Getenv),
		logger:           logger,
		served:           map[string]bool{},
	}
	if err := os.MkdirAll(l.agents(), 0o700); err != nil {
		return nil, err
	}
	var err error
	l.restored, err = l.store.Restored(func(name string) (string, bool) { return l.path(name), true })
	if err != nil {
		logger.Warn("some listeners were not kept and are opened anew", "error", err)
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

// set serves the host's socket and those of the agents, and no others. The error
// is that of the host's socket. What is wrong with an agent's socket is that
// agent's trouble, since it may be its doing: it can have put something else in
// its place. It is logged, and tried again with the next reload.
func (l *listeners) set(ctx context.Context, agents []*policy.Agent) error {
	want := map[string]bool{}
	for _, agent := range agents {
		want[agent.Name] = true
		l.report(agent.Name, l.open(ctx, agent.Name))
	}
	for _, name := range l.names() {
		if !want[name] && name != hostName {
			l.report(name, l.close(name))
		}
	}
	err := l.open(ctx, hostName)
	for name, listener := range l.restored {
		listener.Close()
		delete(l.restored, name)
		l.report(name, l.close(name))
	}
	return err
}

// names lists what is served.
func (l *listeners) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.served))
}

// mark notes whether a socket is served, and reports whether it was.
func (l *listeners) mark(name string, served bool) (was bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was = l.served[name]
	delete(l.served, name)
	if served {
		l.served[name] = true
	}
	return was
}

func (l *listeners) report(name string, err error) {
	if err != nil {
		l.logger.Error("an agent's socket", "agent", name, "error", err)
	}
}

// open serves a socket, the kept one if there is one. One that is served already
// stays.
func (l *listeners) open(ctx context.Context, name string) error {
	if l.mark(name, true) {
		return nil
	}
	listener, kept := l.restored[name]
	delete(l.restored, name)
	if !kept {
		var err error
		if listener, err = l.bind(name); err != nil {
			l.mark(name, false)
			return fmt.Errorf("socket of %s: %w", name, err)
		}
		if err := l.store.Store(name, listener); err != nil {
			l.logger.Warn("systemd does not keep a listener; calls are refused while the daemon restarts", "listener", name, "error", err)
		}
	}
	go l.serve(ctx, name, listener)
	return nil
}

// serve serves a socket until its agent goes or the daemon ends. One that ends
// for another reason is opened anew with the next reload.
func (l *listeners) serve(ctx context.Context, name string, listener *net.UnixListener) {
	agent := name
	if name == hostName {
		agent = ""
	}
	err := l.server.Serve(ctx, listener, agent)
	if err != nil && !errors.Is(err, varlink.ErrServerClosed) {
		l.logger.Error("a listener ended; a reload opens it anew", "listener", name, "error", err)
		l.mark(name, false)
	}
}

func (l *listeners) bind(name string) (*net.UnixListener, error) {
	if name == hostName {
		return varlink.Bind(l.path(name), hostMode)
	}
	return varlink.BindAgent(l.agents(), name)
}

// close ends a socket whose agent's file has gone. Its sidecars go on: stopping
// them is the operator's decision.
func (l *listeners) close(name string) error {
	l.mark(name, false)
	l.server.Remove(name)
	return errors.Join(l.store.Unstore(name), varlink.UnbindAgent(l.agents(), name))
}
