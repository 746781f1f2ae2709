package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

const (
	busName       = "org.freedesktop.DBus"
	busPath       = dbus.ObjectPath("/org/freedesktop/DBus")
	systemAddress = "unix:path=/run/dbus/system_bus_socket"
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

// trusts reports whether signals of this sender count.
func (l *link) trusts(sender string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sender == busName || (sender != "" && sender == l.owner)
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
	path, err := socketPath(c.config.Address)
	if err != nil {
		return nil, err
	}
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	l := &link{newOwner: make(chan struct{}, 1)}
	l.bus, err = dbus.NewConn(newGuard(socket, c.config.CallTimeout, l.trusts),
		dbus.WithHandler(nothing{}), dbus.WithSignalHandler(&receiver{conn: c, link: l}))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	// godbus takes no context for the first steps.
	stop := context.AfterFunc(ctx, func() { _ = l.bus.Close() })
	defer stop()
	if err := c.setUp(ctx, l); err != nil {
		_ = l.bus.Close()
		return nil, err
	}
	return l, nil
}

func (c *Conn) setUp(ctx context.Context, l *link) error {
	if err := l.bus.Auth(nil); err != nil {
		return fmt.Errorf("authenticate to the bus: %w", err)
	}
	if err := l.bus.Hello(); err != nil {
		return fmt.Errorf("greet the bus: %w", err)
	}
	bus := l.bus.Object(busName, busPath)
	for _, rule := range matches() {
		if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.AddMatch", 0, rule).Err; err != nil {
			return fmt.Errorf("add the match rule %s: %w", rule, err)
		}
	}
	var owner string
	if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, destination).Store(&owner); err != nil {
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

// socketPath reads a D-Bus address. Only unix:path=… is known; a process that
// manages the host's units has no business with others.
func socketPath(address string) (string, error) {
	if address == "" {
		address = systemAddress
	}
	path, ok := strings.CutPrefix(address, "unix:path=")
	if !ok || strings.ContainsAny(path, ",;%") {
		return "", fmt.Errorf("bus address %q: only unix:path=PATH is supported", address)
	}
	return path, nil
}

// nothing is what we serve on the bus.
type nothing struct{}

// LookupObject implements dbus.Handler.
func (nothing) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
