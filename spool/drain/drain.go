package drain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// Service is what the drain needs of the agent's socket. A client.Client has
// these methods but for the two errors below.
type Service interface {
	LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error)
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error)
	Signal(ctx context.Context, p interfaces.SignalParameters) error
}

var (
	// ErrUnreachable is what a Service returns if nothing was asked, since nobody
	// listens.
	ErrUnreachable = errors.New("the service cannot be reached")
	// ErrInterrupted is what it returns if the call was cut off: whether it was
	// carried out is not known.
	ErrInterrupted = errors.New("the service hung up before it answered")
)

// Config is what a drain needs. Zero values mean the defaults.
type Config struct {
	Directory string // of the agent's spool
	Service   Service
	Logger    *slog.Logger

	Calls  int           // calls under way at once; default 48
	Linger time.Duration // how long to wait for another request before the end; default 5 s
	Grace  time.Duration // how long calls may take to end after ctx has; default 10 s
}

const (
	// callsAtOnce is less than the 64 connections that an agent's socket takes.
	// Launches wait in the service, where agents take turns: here they must not keep
	// a signal waiting, which a kill script gives up after seconds.
	callsAtOnce = 48
	// linger spares the next of a series of requests the start of a program in its
	// sandbox, which is most of what a request costs.
	linger = 5 * time.Second
	grace  = 10 * time.Second
	// again is the time between two looks while there is something that cannot be
	// moved. It is longer if a look takes long, so as not to keep a processor busy.
	again = 200 * time.Millisecond
	// pollAlone is the time between two looks if the kernel does not tell of new
	// files.
	pollAlone = 20 * time.Millisecond
	// tidyEvery is the time between two collections while the drain runs.
	tidyEvery = 30 * time.Second
)

// drain is one run.
type drain struct {
	Config
	tree    *tree
	now     func() time.Time
	slots   chan struct{} // holds one for each call under way
	calls   sync.WaitGroup
	ended   chan struct{} // a call has ended
	logged  atomic.Int64  // refusals and failures
	aside   atomic.Int64  // entries moved to refused
	results results
}

// Run drains the spool until it is empty, and has been for Config.Linger, or until
// ctx ends. Only one may run for a spool at a time. What is in its way it logs;
// its error is that of a spool that is none.
func Run(ctx context.Context, config Config) error {
	d, err := newDrain(config)
	if err != nil {
		return err
	}
	defer d.tree.close()
	calling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer d.calls.Wait()
	defer cancel()
	d.tidy()
	if err := d.run(ctx, calling); err != nil {
		return err
	}
	d.finish()
	d.tidy()
	return nil
}

func newDrain(config Config) (*drain, error) {
	if config.Calls <= 0 {
		config.Calls = callsAtOnce
	}
	if config.Linger <= 0 {
		config.Linger = linger
	}
	if config.Grace <= 0 {
		config.Grace = grace
	}
	tree, err := openTree(config.Directory)
	if err != nil {
		return nil, err
	}
	return &drain{
		Config: config,
		tree:   tree,
		now:    time.Now,
		slots:  make(chan struct{}, config.Calls),
		ended:  make(chan struct{}, 1),
	}, nil
}

// run takes what was left in claimed, and then what is in requests/new, until
// there has been nothing more for a while.
func (d *drain) run(ctx, calling context.Context) error {
	arrivals := watch(d.Directory)
	defer arrivals.close()
	_, err := d.sweep(ctx, d.tree.claimed, func(file string) verdict { return d.takeUp(calling, file) })
	busy, tidied := time.Now(), time.Now()
	for err == nil && ctx.Err() == nil {
		var found pass
		found, err = d.sweep(ctx, d.tree.fresh, func(file string) verdict { return d.take(calling, file) })
		if found.moved+found.stuck > 0 || len(d.slots) > 0 {
			busy = time.Now()
		}
		switch {
		case found.moved > 0:
		case found.stuck > 0:
			pause(ctx, max(again, 10*found.took))
		case time.Since(busy) >= d.Linger:
			return err
		default:
			arrivals.wait(ctx, d.ended, d.Linger)
		}
		if time.Since(tidied) > tidyEvery {
			d.tidy()
			tidied = time.Now()
		}
	}
	return err
}

// pause waits for a time or the end of ctx.
func pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// finish gives calls the time to end that Config.Grace says. What is cut off is
// taken up by the next drain.
func (d *drain) finish() {
	done := make(chan struct{})
	go func() {
		d.calls.Wait()
		close(done)
	}()
	timer := time.NewTimer(d.Grace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		d.Logger.Warn("some calls were cut off; the next drain takes them up")
	}
}
