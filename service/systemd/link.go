package systemd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// link is one connection to the bus, from its dialling to its end.
type link struct {
	bus      *dbus.Conn
	newOwner chan struct{} // has an element after systemd came back under another name

	mu      sync.Mutex
	owner   string // unique bus name of systemd, "" if it has none or it is not known yet
	changes int    // how often the owner was told to have changed
	version int    // of systemd, 0 if not known
}

// accepts lets through replies and trusted signals. Calls are skipped, for nothing
// is served here.
func (l *link) accepts(h bus.Header) bool {
	return h.Reply() || h.Type == dbus.TypeSignal && l.trusts(h.Sender)
}

// trusts reports whether signals of this sender count.
func (l *link) trusts(sender string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sender == bus.Name || (sender != "" && sender == l.owner)
}

// setOwner notes who systemd is. A signal is newer than the answer to our own
// question, whichever is handled first.
func (l *link) setOwner(owner string, signalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !signalled && l.changes > 0 {
		return
	}
	l.owner, l.version = owner, 0
	if !signalled {
		return
	}
	l.changes++
	if owner != "" {
		l.wantSubscription()
	}
}

// wantSubscription makes the keeper of the link subscribe.
func (l *link) wantSubscription() {
	select {
	case l.newOwner <- struct{}{}:
	default:
	}
}

func (l *link) ownerChanges() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes
}

// dial connects to the bus and is done when systemd tells us its changes.
func (c *Conn) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	l := &link{newOwner: make(chan struct{}, 1)}
	var err error
	l.bus, err = bus.Dial(ctx, bus.Config{
		Address: c.config.Address,
		Timeout: c.config.CallTimeout,
		Accept:  l.accepts,
		Signals: &receiver{conn: c, link: l},
	})
	if err != nil {
		return nil, err
	}
	if err := c.setUp(ctx, l); err != nil {
		_ = l.bus.Close()
		return nil, err
	}
	return l, nil
}

func (c *Conn) setUp(ctx context.Context, l *link) error {
	object := l.bus.Object(bus.Name, bus.Path)
	for _, rule := range matches() {
		if err := object.CallWithContext(ctx, "org.freedesktop.DBus.AddMatch", 0, rule).Err; err != nil {
			return fmt.Errorf("add the match rule %s: %w", rule, err)
		}
	}
	var owner string
	if err := object.CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, destination).Store(&owner); err != nil {
		return fmt.Errorf("find systemd on the bus: %w", err)
	}
	l.setOwner(owner, false)
	return c.subscribe(ctx, l)
}

// subscribe asks systemd for signals; it sends none otherwise. Only from the
// answer on can what was read be kept.
func (c *Conn) subscribe(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	before := l.ownerChanges()
	err := l.bus.Object(destination, managerPath).
		CallWithContext(ctx, managerMethod+"Subscribe", dbus.FlagNoAutoStart).Err
	var answer dbus.Error
	if errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.AlreadySubscribed" {
		err = nil // systemd remembers us over its own re-execution
	}
	if err != nil {
		return fmt.Errorf("subscribe to systemd's signals: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes == before { // otherwise another systemd has to be asked
		c.cache.reset(true)
	}
	return nil
}
