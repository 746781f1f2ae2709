package systemd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/retry"
)

// Config says how to reach systemd. The zero value is good.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// CallTimeout bounds every single call, with the wait for a free slot and for the
	// bus. Default 10 s.
	CallTimeout time.Duration
	// JobTimeout bounds the wait for a job of a unit without time-outs, for a caller
	// without a deadline. Default 5 min.
	JobTimeout time.Duration
	// MaxInFlight is how many calls may be unanswered at once, where the six that List makes
	// for a unit are one. The bus allows 128. Default 16.
	MaxInFlight int
	// Digest makes Unit.Digest of a unit's Environment=, which can be long and is not kept.
	// It is called whenever the unit is read. nil: units have no digests.
	Digest func(environment []string) any
	// Logger gets the connection's own troubles. nil: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.CallTimeout = cmp.Or(max(c.CallTimeout, 0), 10*time.Second)
	c.JobTimeout = cmp.Or(max(c.JobTimeout, 0), 5*time.Minute)
	c.MaxInFlight = cmp.Or(max(c.MaxInFlight, 0), 16)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// subscribePause is the pause before systemd is asked for its signals again.
const subscribePause = 50 * time.Millisecond

// Conn talks to systemd. It lives until Close, through restarts of systemd and of the bus.
// Its methods may be called concurrently.
type Conn struct {
	config   Config
	slots    chan struct{} // one element for each call in flight
	cache    cache
	filling  chan struct{} // has an element while a List reads many units
	watches  watches
	changes  changes
	restarts atomic.Uint64 // of systemd and of the bus

	life   context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when keep has returned

	mu    sync.Mutex
	link  *link         // nil while there is no connection
	ready chan struct{} // closed when link is set
}

// Dial connects to the bus and to systemd on it. ctx and CallTimeout bound the dialling
// only.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	c := &Conn{
		config: config.withDefaults(),
		done:   make(chan struct{}),
		ready:  make(chan struct{}),
	}
	c.filling = make(chan struct{}, 1)
	c.slots = make(chan struct{}, c.config.MaxInFlight)
	l, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	c.life, c.cancel = context.WithCancel(context.Background())
	c.setLink(l)
	go c.keep(l)
	return c, nil
}

// Close ends the connection; calls under way end with an error.
func (c *Conn) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// Changes subscribes to changes of units. The caller must close it.
func (c *Conn) Changes() *Changes { return c.changes.subscribe() }

// Announce tells the subscribers of changes that a unit may have changed.
func (c *Conn) Announce(name string) { c.changes.add(name) }

// keep holds a link, l at first, until the Conn is closed.
func (c *Conn) keep(l *link) {
	defer close(c.done)
	retry.Keep(c.life, func() (connected bool, err error) {
		if l == nil {
			if l, err = c.dial(c.life); err != nil {
				return false, err
			}
			c.config.Logger.Info("connected to the bus again")
			c.setLink(l)
		}
		c.attend(l)
		c.dropLink()
		l = nil
		return true, nil
	}, func(err error, pause time.Duration) {
		c.config.Logger.Warn("cannot connect to the bus", "error", err, "again_in", pause)
	})
}

// attend returns when the link has ended. It subscribes again whenever systemd has come
// back.
func (c *Conn) attend(l *link) {
	defer l.bus.Close()
	for {
		select {
		case <-c.life.Done():
			return
		case <-l.bus.Context().Done():
			c.config.Logger.Warn("connection to the bus is lost")
			return
		case <-l.newOwner:
		}
		if err := l.subscribe(c.life); err != nil {
			c.config.Logger.Warn("systemd is back but does not answer", "error", err)
			_ = retry.Pause(c.life, subscribePause)
			wake(l.newOwner)
			continue
		}
		c.resync() // changes before the answer were not signalled
	}
}

func (c *Conn) setLink(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.ready)
}

// dropLink makes callers wait for the next link.
func (c *Conn) dropLink() {
	c.mu.Lock()
	c.link = nil
	c.ready = make(chan struct{})
	c.mu.Unlock()
	c.restarted()
}

// current returns the link, and waits until there is a link.
func (c *Conn) current(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, ready := c.link, c.ready
		c.mu.Unlock()
		switch {
		case c.life.Err() != nil:
			return nil, ErrClosed
		case l != nil:
			return l, nil
		}
		select {
		case <-ready:
		case <-c.life.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// resync says that any unit may have changed without a signal.
func (c *Conn) resync() {
	c.watches.wakeAll()
	c.changes.add("")
}

// restarted says that systemd or the bus has been replaced, and sends no signals yet.
func (c *Conn) restarted() {
	c.restarts.Add(1)
	c.cache.reset(false)
	c.resync()
}

// changed says that a unit may have changed.
func (c *Conn) changed(path dbus.ObjectPath) {
	c.cache.touch(path)
	if name, ok := unitName(path); ok {
		c.changes.add(name)
	}
}

// wake puts an element into a channel of capacity 1, unless it is full.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
