package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// Config is how to reach systemd. The zero value is good.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// CallTimeout bounds every single call, with its waiting for a free slot or
	// for the bus to come back. Default 10 s.
	CallTimeout time.Duration
	// JobTimeout bounds the wait for a job, for units that have no time-outs of
	// their own and callers without a deadline. Default 5 min.
	JobTimeout time.Duration
	// MaxInFlight is how many calls may be unanswered at once. Default 16.
	MaxInFlight int
	// Logger gets the connection's own troubles. nil: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.CallTimeout <= 0 {
		c.CallTimeout = 10 * time.Second
	}
	if c.JobTimeout <= 0 {
		c.JobTimeout = 5 * time.Minute
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 16
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Pauses between attempts to reach the bus again.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// Conn talks to systemd. It lives until Close, whatever becomes of its callers and
// of the bus. Its methods may be called at the same time.
type Conn struct {
	config  Config
	slots   chan struct{} // one element for each call in flight
	cache   cache
	watches watches
	changes changes
	comings atomic.Uint64 // how often systemd, or the bus, came anew

	cancel context.CancelFunc
	done   chan struct{} // closed when the keeper has ended

	mu    sync.Mutex
	link  *link         // nil while there is none
	ready chan struct{} // closed when there is a link or never will be
	ended bool
}

// Dial connects to the bus and to systemd on it. ctx and CallTimeout bound the
// dialling only.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	c := &Conn{
		config: config.withDefaults(),
		done:   make(chan struct{}),
		ready:  make(chan struct{}),
	}
	c.slots = make(chan struct{}, c.config.MaxInFlight)
	l, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	life, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.setLink(l)
	go c.keep(life, l)
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

// keep holds a link for as long as the Conn lives.
func (c *Conn) keep(life context.Context, l *link) {
	defer close(c.done)
	for l != nil {
		c.attend(life, l)
		c.dropLink()
		l = c.redial(life)
	}
	c.end()
}

// attend stays with a link to its end, and subscribes again whenever systemd has
// come back.
func (c *Conn) attend(life context.Context, l *link) {
	defer l.bus.Close()
	for {
		select {
		case <-life.Done():
			return
		case <-l.bus.Context().Done():
			c.config.Logger.Warn("connection to the bus is lost")
			return
		case <-l.newOwner:
		}
		if err := c.subscribe(life, l); err != nil {
			c.config.Logger.Warn("systemd is back but does not answer", "error", err)
			_ = pause(life, minPause)
			l.wantSubscription()
			continue
		}
		c.lookAgain() // who looked before the answer has not been told what came between
	}
}

// redial returns a new link, or nil when the Conn is closed.
func (c *Conn) redial(life context.Context) *link {
	for wait := minPause; life.Err() == nil; wait = min(2*wait, maxPause) {
		l, err := c.dial(life)
		if err == nil {
			c.config.Logger.Info("connected to the bus again")
			c.setLink(l)
			return l
		}
		c.config.Logger.Warn("cannot connect to the bus", "error", err, "again_in", wait)
		_ = pause(life, wait)
	}
	return nil
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
	c.anew()
}

// end makes all callers fail, those that wait for a link too.
func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	close(c.ready)
}

// current returns the link, waiting for it if need be.
func (c *Conn) current(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, ready, ended := c.link, c.ready, c.ended
		c.mu.Unlock()
		switch {
		case ended:
			return nil, ErrClosed
		case l != nil:
			return l, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lookAgain says that any unit may have changed without our being told.
func (c *Conn) lookAgain() {
	c.watches.pokeAll()
	c.changes.add("")
}

// anew says that there is another systemd or another bus, which tells us nothing
// yet.
func (c *Conn) anew() {
	c.comings.Add(1)
	c.cache.reset(false)
	c.lookAgain()
}

// changed says that a unit may have changed.
func (c *Conn) changed(path dbus.ObjectPath) {
	c.cache.touch(path)
	if name, ok := unitName(path); ok {
		c.changes.add(name)
	}
}

// pause waits for d, or for ctx and then returns its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
