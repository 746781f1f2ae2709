package systemd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// link is one connection to the bus. It is a SignalHandler, not a channel, so that signals
// are handled before godbus sees the reply behind them: the cache relies on that order.
type link struct {
	conn     *Conn
	bus      *dbus.Conn
	newOwner chan struct{} // has an element after systemd came back under another name

	mu      sync.Mutex
	owner   string // unique bus name of systemd, "" if it has none or is not known yet
	changes int    // how many signals about a new owner came
}

// dial connects to the bus and subscribes to systemd's signals.
func (c *Conn) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	l := &link{conn: c, newOwner: make(chan struct{}, 1)}
	var err error
	l.bus, err = bus.Dial(ctx, bus.Config{
		Address: c.config.Address,
		Timeout: c.config.CallTimeout,
		Accept:  l.accepts,
		Signals: l,
	})
	if err != nil {
		return nil, err
	}
	if err := l.setUp(ctx); err != nil {
		_ = l.bus.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) setUp(ctx context.Context) error {
	object := l.bus.Object(bus.Name, bus.Path)
	for _, rule := range matches() {
		if err := object.CallWithContext(ctx, bus.Name+".AddMatch", 0, rule).Err; err != nil {
			return fmt.Errorf("add the match rule %s: %w", rule, err)
		}
	}
	var owner string
	if err := object.CallWithContext(ctx, bus.Name+".GetNameOwner", 0, destination).Store(&owner); err != nil {
		return fmt.Errorf("find systemd on the bus: %w", err)
	}
	l.setOwner(owner, false)
	return l.subscribe(ctx)
}

// subscribe asks systemd for signals, which it does not send otherwise. The cache is live
// only from the answer on.
func (l *link) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.conn.config.CallTimeout)
	defer cancel()
	l.mu.Lock()
	before := l.changes
	l.mu.Unlock()
	err := l.bus.Object(destination, managerPath).
		CallWithContext(ctx, managerMethod+"Subscribe", dbus.FlagNoAutoStart).Err
	var answer dbus.Error
	if errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.AlreadySubscribed" {
		err = nil // systemd keeps subscriptions when it re-executes
	}
	if err != nil {
		return fmt.Errorf("subscribe to systemd's signals: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes == before { // otherwise the new owner must be asked
		l.conn.cache.reset(true)
	}
	return nil
}

// matches are the match rules of a connection. The bus compares the sender with the
// owner of the name; signals sent straight to us need no rule, and the guard drops them.
// systemd sends PropertiesChanged twice for each change, once for each interface, the
// Unit's last (send_changed_signal in its dbus-unit.c). One of them is enough.
func matches() []string {
	const manager = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1'," +
		"interface='org.freedesktop.systemd1.Manager',member="
	return []string{
		"type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus'," +
			"member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
		manager + "'JobRemoved'",
		manager + "'UnitRemoved'",
		manager + "'Reloading'",
		"type='signal',sender='org.freedesktop.systemd1',path_namespace='/org/freedesktop/systemd1/unit'," +
			"interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'," +
			"arg0='org.freedesktop.systemd1.Unit'",
	}
}

// accepts lets through replies and trusted signals, and no calls.
func (l *link) accepts(h bus.Header) bool {
	return h.Reply() || h.Type == dbus.TypeSignal && l.trusts(h.Sender)
}

// trusts reports whether the sender is the bus or systemd.
func (l *link) trusts(sender string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sender == bus.Name || (sender != "" && sender == l.owner)
}

// setOwner notes systemd's unique name. A signal is newer than the answer to our own
// question, whichever is handled first.
func (l *link) setOwner(owner string, signalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !signalled && l.changes > 0 {
		return
	}
	l.owner = owner
	if !signalled {
		return
	}
	l.changes++
	if owner != "" {
		wake(l.newOwner)
	}
}

// DeliverSignal implements dbus.SignalHandler. The connection's reader calls it, so it must
// not wait.
func (l *link) DeliverSignal(_, _ string, s *dbus.Signal) {
	if s.Sender == bus.Name {
		if s.Name == bus.Name+".NameOwnerChanged" {
			l.ownerChanged(s.Body)
		}
		return
	}
	if !l.trusts(s.Sender) {
		return
	}
	switch s.Name {
	case "org.freedesktop.systemd1.Manager.JobRemoved":
		l.jobRemoved(s.Body)
	case "org.freedesktop.systemd1.Manager.UnitRemoved":
		l.unitRemoved(s.Body)
	case "org.freedesktop.systemd1.Manager.Reloading":
		l.conn.cache.clear()
		l.conn.resync()
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		l.conn.changed(s.Path)
	}
}

// ownerChanged handles the body (name, old owner, new owner).
func (l *link) ownerChanged(body []any) {
	var name, before, owner string
	if dbus.Store(body, &name, &before, &owner) == nil && name == destination {
		l.setOwner(owner, true)
		l.conn.restarted()
	}
}

// jobRemoved handles the body (number, job, unit, result).
func (l *link) jobRemoved(body []any) {
	var id uint32
	var path dbus.ObjectPath
	var unit, result string
	if dbus.Store(body, &id, &path, &unit, &result) == nil {
		l.conn.changed(unitPath(unit))
		l.conn.watches.ended(unit, id, result)
	}
}

// unitRemoved handles the body (name, object).
func (l *link) unitRemoved(body []any) {
	var name string
	var path dbus.ObjectPath
	if dbus.Store(body, &name, &path) == nil {
		l.conn.cache.remove(path)
		l.conn.changes.add(name)
	}
}
