// Package bus connects to the system bus in the way that everybody here does who
// talks on it: with a guard that skips what nobody asked for before it is decoded,
// and with an end to every wait. What is said on the bus is its users' business.
//
// Out of scope: buses on other machines, and receiving file descriptors, which a
// stranger could send as well.
package bus

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Name is the bus's own name, Path its object: see "Message Bus Messages" in the
// D-Bus specification. Only the bus can send from this name.
const (
	Name = "org.freedesktop.DBus"
	Path = dbus.ObjectPath("/org/freedesktop/DBus")
)

const (
	systemAddress  = "unix:path=/run/dbus/system_bus_socket"
	defaultTimeout = 10 * time.Second
)

// Config says which connection is wanted. The zero value is good: a connection to
// the system bus that makes calls and hears signals of the bus itself.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// Timeout bounds the dialling, and each single write. Default 10 s.
	Timeout time.Duration
	// Files, if there is one, lets calls carry a file descriptor.
	Files *Files
	// Accept decides which messages are let through; the others are skipped
	// unread, and nobody is told. It is called by the connection's reader and
	// must not wait. nil: replies, and signals of the bus.
	Accept func(Header) bool
	// Signals gets the signals that are let through. nil: nobody does.
	Signals dbus.SignalHandler
	// Calls gets the method calls that are let through, each a whole message that
	// nobody has decoded yet, in the order in which they came. It is called by the
	// connection's reader and must not wait. nil: there are no objects.
	//
	// It stands in the place of godbus's own way of serving, which starts a
	// goroutine for every call and walks its map of objects without a lock.
	Calls func(h Header, message []byte)
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Accept == nil {
		c.Accept = func(h Header) bool { return h.Reply() || h.Type == dbus.TypeSignal && h.Sender == Name }
	}
	if c.Signals == nil {
		c.Signals = nothing{}
	}
	if c.Calls == nil {
		c.Calls = func(Header, []byte) {}
	}
	return c
}

// Dial connects to the bus, authenticates and has a unique name when it returns.
// ctx and the configured time-out bound the dialling only; the connection lives
// until it is closed or the bus goes, which its Context tells.
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
		dbus.WithHandler(nothing{}), dbus.WithSignalHandler(config.Signals))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	// godbus takes no context for the first steps.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := greet(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func greet(conn *dbus.Conn) error {
	if err := conn.Auth(nil); err != nil {
		return fmt.Errorf("authenticate to the bus: %w", err)
	}
	if err := conn.Hello(); err != nil {
		return fmt.Errorf("greet the bus: %w", err)
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

// nothing is what is served by godbus, and what those hear who do not say otherwise.
type nothing struct{}

// LookupObject implements dbus.Handler.
func (nothing) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }

// DeliverSignal implements dbus.SignalHandler.
func (nothing) DeliverSignal(string, string, *dbus.Signal) {}
