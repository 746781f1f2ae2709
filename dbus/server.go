package dbus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// Launcher is what the twin needs of the core to start sidecars.
type Launcher interface {
	Launch(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error)
	Explain(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.ExplainReply, error)
}

// Keeper is what the twin needs of the core to work with what is there.
type Keeper interface {
	List(ctx context.Context, caller service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	ListProfiles(ctx context.Context, caller service.Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error)
	Stop(ctx context.Context, caller service.Caller, p interfaces.StopParameters) (interfaces.StopReply, error)
	Signal(ctx context.Context, caller service.Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error)
}

// Core is what the twin serves: *service.Core.
type Core interface {
	Launcher
	Keeper
}

// Events is a subscription to what happens to all sidecars: *events.Subscription.
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
	Version   string // of the service; everybody may know it
	Address   string // of the bus, unix:path=PATH; "" is the system bus
	Limits    Limits
}

const (
	// The time between two tries to reach the bus grows from minPause to maxPause.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// endTimeout is how long calls may take that are under way when the server
	// ends.
	endTimeout = 8 * time.Second
)

// Server serves the core on the bus.
type Server struct {
	core      Core
	subscribe func() Events
	logger    *slog.Logger
	version   string
	address   string
	limits    Limits
	gate      *gate
	answers   chan struct{} // one element for each long answer that is being made or sent
	known     known
	tables    tables
	ready     chan struct{}
	once      sync.Once
}

// New returns a server that is not on the bus yet.
func New(c Config) *Server {
	s := &Server{
		core: c.Core, subscribe: c.Subscribe, logger: c.Logger, version: c.Version, address: c.Address,
		limits: c.Limits.withDefaults(), ready: make(chan struct{}),
	}
	s.gate = newGate(s.limits)
	s.answers = make(chan struct{}, s.limits.LargeAnswers)
	s.tables = tables{branch: s.branch(), manager: s.manager(), sidecar: s.sidecar()}
	return s
}

// Ready is closed when the server was on the bus for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, and then lets the calls that are under way come to
// their end, for a while. When the bus goes it comes back as soon as there is one
// again. The only error is that the bus has taken the name away: two who both think
// that they are the service are worse than one that starts anew.
func (s *Server) Run(ctx context.Context) error {
	pause, told := minPause, ""
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		switch {
		case errors.Is(err, errNameLost):
			return err
		case ctx.Err() != nil: // in the middle of connecting, too
			return nil
		}
		if time.Since(began) > maxPause {
			pause, told = minPause, ""
		}
		if err.Error() != told {
			told = err.Error()
			s.logger.Warn("not on the bus, trying again; varlink is served still", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
	return nil
}

// session is one connection to the bus.
func (s *Server) session(ctx context.Context) error {
	l, err := s.dial(ctx)
	if err != nil {
		return err
	}
	var publishing sync.WaitGroup
	defer publishing.Wait() // the next one begins with nothing known
	defer l.shutDown()
	if err := l.own(ctx); err != nil {
		return err
	}
	s.once.Do(func() { close(s.ready) })
	publishing.Go(func() { s.publish(l) })
	select {
	case <-ctx.Done():
		return nil
	case <-l.lost:
		return errNameLost
	case <-l.conn.Context().Done():
		return errors.New("the connection to the bus has ended")
	}
}

func (l *link) shutDown() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	l.end(ctx)
}
