// Package bus connects to the system bus. A guard skips unwanted messages before they are
// decoded, and every wait ends. Its users connect again with retry.Keep.
//
// Out of scope: what is said on the bus, buses on other machines, and receiving file
// descriptors, which a stranger could send as well.
package bus

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Name is the bus's own name, Path its object, ErrorPrefix begins the names of D-Bus's own
// errors: see "Message Bus Messages" in the D-Bus specification. Only the bus can send from
// its name.
const (
	Name = "org.freedesktop.DBus"
	Path = dbus.ObjectPath("/org/freedesktop/DBus")

	ErrorPrefix = "org.freedesktop.DBus.Error."
)

const (
	systemAddress  = "unix:path=/run/dbus/system_bus_socket"
	defaultTimeout = 10 * time.Second
)

// Config describes a connection. The zero value is a connection to the system bus that
// makes calls and receives signals of the bus itself.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// Timeout bounds the dialling, and each single write. Default 10 s.
	Timeout time.Duration
	// Files lets calls carry a file descriptor. nil: they cannot.
	Files *Files
	// Accept decides which messages are let through; the others are skipped unread. The
	// connection's reader calls it, so it must not wait. nil: replies, and signals of
	// the bus.
	Accept func(Header) bool
	// Signals gets the signals that are let through. nil: signals are dropped.
	Signals dbus.SignalHandler
	// Calls gets the method calls that are let through, whole and undecoded, in the
	// order in which they came. The connection's reader calls it, so it must not wait.
	// nil: calls are dropped. It replaces godbus's own server, which starts a goroutine
	// for every call and walks its map of objects without a lock.
	Calls func(h Header, message []byte)
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(max(c.Timeout, 0), defaultTimeout)
	if c.Accept == nil {
		c.Accept = func(h Header) bool { return h.Reply() || h.Type == dbus.TypeSignal && h.Sender == Name }
	}
	if c.Signals == nil {
		c.Signals = ignore{}
	}
	if c.Calls == nil {
		c.Calls = func(Header, []byte) {}
	}
	return c
}

// Dial connects to the bus, authenticates and gets a unique name. ctx and the configured
// time-out bound the dialling only; the connection's own Context ends when the connection
// is closed or the bus ends.
func Dial(ctx context.Context, config Config) (*dbus.Conn, error) {
	config = config.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	path, err := socketPath(config.Address)
	if err != nil {
		return nil, err
	}
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	conn, err := dbus.NewConn(newGuard(socket, config),
		dbus.WithHandler(ignore{}), dbus.WithSignalHandler(config.Signals))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	// godbus takes no context for the first steps.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := hello(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func hello(conn *dbus.Conn) error {
	if err := conn.Auth(nil); err != nil {
		return fmt.Errorf("authenticate to the bus: %w", err)
	}
	if err := conn.Hello(); err != nil {
		return fmt.Errorf("say hello to the bus: %w", err)
	}
	return nil
}

// socketPath returns PATH of the D-Bus address unix:path=PATH. Other transports do not lead
// to this host's bus.
func socketPath(address string) (string, error) {
	path, ok := strings.CutPrefix(cmp.Or(address, systemAddress), "unix:path=")
	if !ok || strings.ContainsAny(path, ",;%") {
		return "", fmt.Errorf("bus address %q: only unix:path=PATH is supported", address)
	}
	return path, nil
}

// ignore exports no objects and drops signals.
type ignore struct{}

// LookupObject implements dbus.Handler.
func (ignore) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }

// DeliverSignal implements dbus.SignalHandler.
func (ignore) DeliverSignal(string, string, *dbus.Signal) {}
