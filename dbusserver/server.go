package dbusserver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service"
)

// Core is what the server needs of *service.Core.
type Core interface {
	Launch(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error)
	Explain(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.ExplainReply, error)
	List(ctx context.Context, caller service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	ListProfiles(ctx context.Context, caller service.Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error)
	ReadLog(ctx context.Context, caller service.Caller, p interfaces.ReadLogParameters, send func(*interfaces.LogEntry) error) error
	Stop(ctx context.Context, caller service.Caller, p interfaces.StopParameters) (interfaces.StopReply, error)
	Signal(ctx context.Context, caller service.Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error)
	CreateNamespace(ctx context.Context, caller service.Caller, p interfaces.CreateNamespaceParameters) (interfaces.CreateNamespaceReply, error)
	DeleteNamespace(ctx context.Context, caller service.Caller, p interfaces.DeleteNamespaceParameters) (interfaces.DeleteNamespaceReply, error)
}

// Events is a subscription to the events of all sidecars: *events.Subscription.
type Events interface {
	// Next waits for the next event: the state first, then every change.
	Next(ctx context.Context) (interfaces.Event, error)
	// Close ends the subscription.
	Close()
}

// Config are the collaborators of a Server. Core, Subscribe and Logger are needed.
type Config struct {
	Core      Core
	Subscribe func() Events // a new subscription
	Logger    *slog.Logger
	Version   string // of the service; everybody may read it
	Address   string // of the bus, unix:path=PATH; "" is the system bus
	Limits    Limits
	Rejected  func(service.Rejection) // is told of each call that is answered without the core; nil: nobody is
}

const (
	// settled is how long a session lasts before its error counts as a new one.
	settled = 5 * time.Second
	// endTimeout bounds the wait for calls under way when a session ends.
	endTimeout = 8 * time.Second
)

// Server serves the core on the bus.
type Server struct {
	config    Config
	gate      *gate
	answers   chan struct{} // one element for each long answer that is being made or sent
	announced announced
	tables    tables
	ready     chan struct{}
	setReady  func()
}

// New returns a server that is not on the bus yet.
func New(c Config) *Server {
	c.Limits = c.Limits.withDefaults()
	if c.Rejected == nil {
		c.Rejected = func(service.Rejection) {}
	}
	s := &Server{
		config:  c,
		gate:    newGate(c.Limits),
		answers: make(chan struct{}, c.Limits.LargeAnswers),
		ready:   make(chan struct{}),
	}
	s.setReady = sync.OnceFunc(func() { close(s.ready) })
	s.tables = tables{branch: s.branch(), manager: s.manager(), sidecar: s.sidecar()}
	return s
}

// Ready is closed when the server is on the bus for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, and then waits for a while for the calls under way. It
// connects again when the bus has restarted. The only error is that the bus took the name
// away: two owners, who both act as the service, are worse than a restart.
func (s *Server) Run(ctx context.Context) (nameLost error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logged := ""
	retry.Keep(ctx, func() (connected bool, err error) {
		began := time.Now()
		connected, err = s.session(ctx)
		if errors.Is(err, errNameLost) {
			nameLost = err
			cancel()
		}
		if time.Since(began) > settled {
			logged = ""
		}
		return connected, err
	}, func(err error, _ time.Duration) {
		if err.Error() != logged {
			logged = err.Error()
			s.config.Logger.Warn("not on the bus, trying again; varlink is still served", "error", err)
		}
	})
	return nameLost
}

// session serves on one connection to the bus.
func (s *Server) session(ctx context.Context) (connected bool, err error) {
	l, err := s.dial(ctx)
	if err != nil {
		return false, err
	}
	var publishing sync.WaitGroup
	defer publishing.Wait() // the next session begins with nothing announced
	defer l.end()
	if err := l.own(ctx); err != nil {
		return false, err
	}
	s.setReady()
	publishing.Go(func() { s.publish(l) })
	select {
	case <-ctx.Done():
		return true, nil
	case <-l.lost:
		return true, errNameLost
	case <-l.conn.Context().Done():
		return true, errors.New("the connection to the bus has ended")
	}
}
