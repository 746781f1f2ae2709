package varlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	varlinkgo "github.com/varlink/go/varlink"

	"tripleo.io/sidecar/service"
)

// Config is what a Server serves, and how.
type Config struct {
	Vendor    string // the four of org.varlink.service.GetInfo
	Product   string
	Version   string
	URL       string
	Interface Interface
	Limits    Limits
	Rejected  func(service.Rejection) // is told of each call or connection that is refused without a Handler; nil: nobody is
	Logger    *slog.Logger            // nil: no log
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("varlink: server closed")

// logEvery is how often a peer can cause one kind of line.
const logEvery = 10 * time.Second

// Server serves one interface on any number of sockets.
type Server struct {
	limits      Limits
	log         *slog.Logger
	served      Interface
	service     *varlinkgo.Service // org.varlink.service
	connections connections
	throttle    *throttle
	rejected    func(service.Rejection)
	ending      context.Context // ends when Shutdown begins
	end         context.CancelFunc
	lastRead    time.Time // when first calls must be there; set before ending ends

	mu        sync.Mutex
	listeners map[*net.UnixListener]string // the agent
	conns     map[*conn]struct{}
	running   sync.WaitGroup // the connections, and what accepts them
}

// NewServer checks the configuration and returns a server that does not serve
// anything yet.
func NewServer(c Config) (*Server, error) {
	limits, err := c.Limits.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.Interface.Name == "" || c.Interface.Description == "" || len(c.Interface.Methods) == 0 {
		return nil, errors.New("an interface needs a name, a description and methods")
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if c.Rejected == nil {
		c.Rejected = func(service.Rejection) {}
	}
	generic, err := varlinkgo.NewService(c.Vendor, c.Product, c.Version, c.URL)
	if err != nil {
		return nil, err
	}
	if err := generic.RegisterInterface(introspection{c.Interface}); err != nil {
		return nil, fmt.Errorf("interface: %w", err)
	}
	ending, end := context.WithCancel(context.Background())
	return &Server{
		limits: limits, log: log, served: c.Interface, service: generic, ending: ending, end: end,
		connections: newConnections(limits), throttle: newThrottle(log, logEvery), rejected: c.Rejected,
		listeners: map[*net.UnixListener]string{}, conns: map[*conn]struct{}{},
	}, nil
}

// Remove stops serving an agent: its listeners and connections are closed, and
// the contexts of its calls end. The socket's file stays, see UnbindAgent.
func (s *Server) Remove(agent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l, a := range s.listeners {
		if a == agent {
			l.Close()
		}
	}
	for c := range s.conns {
		if c.caller.Agent == agent {
			c.kill()
		}
	}
}

// Shutdown accepts nothing more, closes what is idle, ends streams, and waits for the other
// calls. A connection that was accepted and has had no call gets a second for it. When ctx ends first, it ends the contexts of those calls and closes their
// connections; the error is then ctx's, and their handlers may still run.
func (s *Server) Shutdown(ctx context.Context) error {
	s.change(func() {
		if s.ending.Err() == nil {
			s.lastRead = time.Now().Add(firstCall)
		}
		s.end()
		for l := range s.listeners {
			l.Close()
		}
		for c := range s.conns {
			c.closeUnlessBusy()
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.change(func() {
			for c := range s.conns {
				c.kill()
			}
		})
		return ctx.Err()
	}
}

// add changes the listeners or connections, unless the server ends.
func (s *Server) add(change func()) (added bool) {
	s.change(func() {
		if added = s.ending.Err() == nil; added {
			change()
		}
	})
	return added
}

// change changes the listeners or connections.
func (s *Server) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}
