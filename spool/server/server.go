package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/spool"
)

// Service makes the calls that requests ask for. Its errors are the same as a
// client.Client's.
type Service interface {
	LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error)
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error)
	Signal(ctx context.Context, p interfaces.SignalParameters) error
}

// Config is the configuration of a server. Zero values mean the defaults.
type Config struct {
	Directory string // of the agent's spool
	Service   Service
	Logger    *slog.Logger

	Calls  int           // calls under way at once; default 48
	Linger time.Duration // how long to wait for another request before the end; default 5 s
	Grace  time.Duration // how long calls may take to end after ctx has; default 10 s
}

const (
	// defaultCalls is less than the 64 connections that an agent's socket takes.
	// Launches wait in the service, where agents take turns: here they must not keep
	// a signal waiting, because a kill script gives up after seconds.
	defaultCalls = 48
	// defaultLinger spares the next of a series of requests the start of a program in
	// its sandbox, which is most of what a request costs.
	defaultLinger = 5 * time.Second
	defaultGrace  = 10 * time.Second
	// stuckPause is the time between two looks while an entry cannot be moved. It is
	// longer if a look takes long, so as not to keep a processor busy.
	stuckPause = 200 * time.Millisecond
	// tidyInterval is the time between two collections while the server runs.
	tidyInterval = 30 * time.Second
)

// server is one run.
type server struct {
	Config
	tree    *tree
	now     func() time.Time
	slots   chan struct{} // holds one for each call under way
	calls   sync.WaitGroup
	ended   chan struct{} // a call has ended
	logged  atomic.Int64  // refusals and failures
	moved   atomic.Int64  // entries moved to refused
	results results
}

// Run carries out the requests of a spool until there has been none for
// Config.Linger, or until ctx ends. Only one Run may work on a spool at a time. The
// error is about the spool; failures of single requests are logged.
func Run(ctx context.Context, config Config) error {
	s, err := newServer(config)
	if err != nil {
		return err
	}
	defer s.tree.close()
	calling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer s.calls.Wait()
	defer cancel()
	s.tidy()
	if err := s.run(ctx, calling); err != nil {
		return err
	}
	s.finish()
	s.tidy()
	return nil
}

func newServer(config Config) (*server, error) {
	if config.Calls <= 0 {
		config.Calls = defaultCalls
	}
	if config.Linger <= 0 {
		config.Linger = defaultLinger
	}
	if config.Grace <= 0 {
		config.Grace = defaultGrace
	}
	tree, err := openTree(config.Directory)
	if err != nil {
		return nil, err
	}
	return &server{
		Config: config,
		tree:   tree,
		now:    time.Now,
		slots:  make(chan struct{}, config.Calls),
		ended:  make(chan struct{}, 1),
	}, nil
}

// run takes what an earlier server left in claimed, and then the requests in
// requests/new, until there has been none for a while.
func (s *server) run(ctx, calling context.Context) error {
	// The watch only shortens a wait: it does not matter where the name leads.
	arrivals := spool.Watch(filepath.Join(s.Directory, spool.New))
	defer arrivals.Close()
	_, err := s.sweep(ctx, s.tree.claimed, func(file string) verdict { return s.resume(calling, file) })
	busy, tidied := time.Now(), time.Now()
	for err == nil && ctx.Err() == nil {
		var found pass
		found, err = s.sweep(ctx, s.tree.new, func(file string) verdict { return s.claim(calling, file) })
		if found.moved+found.stuck > 0 || len(s.slots) > 0 {
			busy = time.Now()
		}
		switch {
		case found.moved > 0:
		case found.stuck > 0:
			_ = retry.Pause(ctx, max(stuckPause, 10*found.took))
		case time.Since(busy) >= s.Linger:
			return err
		default:
			arrivals.Wait(ctx, s.Linger, "", s.ended)
		}
		if time.Since(tidied) > tidyInterval {
			s.tidy()
			tidied = time.Now()
		}
	}
	return err
}

// finish gives calls Config.Grace to end. The next server resumes the others.
func (s *server) finish() {
	done := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(s.Grace):
		s.Logger.Warn("some calls were cut off; the next run resumes them")
	}
}

// tidy collects files that nobody needs any more.
func (s *server) tidy() {
	s.tidyTemporary()
	s.tidyResults()
	s.tidyRefused()
}
