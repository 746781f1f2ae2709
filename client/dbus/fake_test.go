package dbus_test

import (
	"context"
	"sync"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/bus/bustest"
)

// fake is a bus with a service on it that answers as the test says.
type fake struct {
	*bustest.Bus
	client *dbus.Client

	mu     sync.Mutex
	absent bool // nobody has the name, until the bus is told to start it
	uid    uint32
	asked  []string // members, in order
}

// newFake makes a bus. answer gets the calls of the service.
func newFake(t *testing.T, answer func(*bustest.Call)) *fake {
	t.Helper()
	f := &fake{}
	f.Bus = bustest.New(t, func(c *bustest.Call) {
		if !f.answer(c) {
			answer(c)
		}
	})
	var err error
	if f.client, err = dbus.New(f.Address); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// answer answers what the bus is asked.
func (f *fake) answer(c *bustest.Call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, c.Member)
	switch c.Member {
	case "GetNameOwner":
		if f.absent {
			c.Fail("org.freedesktop.DBus.Error.NameHasNoOwner", "nobody")
			return true
		}
		c.Reply(bustest.Service)
	case "StartServiceByName":
		f.absent = false
		c.Reply(uint32(1))
	case "GetConnectionUnixUser":
		c.Reply(f.uid)
	case "AddMatch":
		c.Reply()
	default:
		return false
	}
	return true
}

// signal sends a signal of the manager.
func (f *fake) signal(sender, member, id, state string) {
	parsed, _ := interfaces.ParseID(id)
	f.Signal(sender, interfaces.ManagerPath, interfaces.ManagerInterface, member, id, godbus.ObjectPath(parsed.Path()), state)
}

// leave tells that the service has left the bus.
func (f *fake) leave() {
	f.Signal(bus.Name, bus.Path, bus.Name, "NameOwnerChanged", interfaces.BusName, bustest.Service, "")
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// fails answers every call with an error.
func fails(name string, body ...any) func(*bustest.Call) {
	return func(c *bustest.Call) { c.Fail(name, body...) }
}

// flagged reports whether a person may be asked for a call.
func flagged(c *bustest.Call) bool { return c.Flags&godbus.FlagAllowInteractiveAuthorization != 0 }
