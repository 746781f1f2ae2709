package systemd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/bus/bustest"
)

// Tests call a bus bus.
const (
	busName = bus.Name
	busPath = bus.Path
)

// scriptedBus is a bus on which systemd answers as the test says.
type scriptedBus struct {
	*bustest.Bus
	t *testing.T

	mu    sync.Mutex
	calls []string      // members, in order, Get with the property
	hold  chan struct{} // if there is one, Subscribe is answered when it is closed
}

// owner is systemd's unique name.
const owner = bustest.Service

// newScriptedBus starts a bus. answer is what systemd does with a call; nil is an
// empty reply. It may block.
func newScriptedBus(t *testing.T, answer func(*bustest.Call)) *scriptedBus {
	t.Helper()
	b := &scriptedBus{t: t}
	b.Bus = bustest.New(t, func(c *bustest.Call) {
		b.mu.Lock()
		call := c.Member
		if call == "Get" {
			call = fmt.Sprint("Get ", c.Body[1])
		}
		b.calls = append(b.calls, call)
		hold := b.hold
		b.mu.Unlock()
		if c.Member == "Subscribe" && hold != nil {
			<-hold
		}
		switch {
		case c.Member == "GetNameOwner":
			c.Reply(owner)
		case c.Member == "AddMatch" || c.Member == "Subscribe" || answer == nil:
			c.Reply()
		default:
			answer(c)
		}
	})
	return b
}

// dial connects; change may alter the configuration. No call takes long here, but
// the machine may be busy.
func (b *scriptedBus) dial(change func(*Config)) *Conn {
	b.t.Helper()
	config := Config{Address: b.Address, CallTimeout: time.Minute, Digest: whole}
	if change != nil {
		change(&config)
	}
	c, err := Dial(context.Background(), config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialImpatient connects, and then gives calls less time. Dialling itself is bounded
// by CallTimeout too, and on a busy machine it can take that long.
func (b *scriptedBus) dialImpatient(timeout time.Duration) *Conn {
	b.t.Helper()
	c := b.dial(nil)
	c.config.CallTimeout = timeout // nobody reads it yet
	return c
}

// count is how often a method was called.
func (b *scriptedBus) count(member string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, call := range b.calls {
		if call == member {
			n++
		}
	}
	return n
}

// reads counts the reads of units.
func (b *scriptedBus) reads() int { return b.count("GetAll") + b.count("Get Environment") }

func (b *scriptedBus) propertiesChanged(sender, unit string) {
	b.Signal(sender, unitPath(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]dbus.Variant{}, []string{})
}

// scriptedUnit answers what systemd does of one unit, by member; what is not there
// is answered as for a running unit.
type scriptedUnit map[string]func(c *bustest.Call)

func (u scriptedUnit) answer(c *bustest.Call) {
	if f := u[c.Member]; f != nil {
		f(c)
		return
	}
	switch c.Member {
	case "Get":
		c.Reply(propertyOf(c, "active"))
	case "GetAll":
		c.Reply(properties("active", 0))
	case "StartTransientUnit", "StopUnit":
		c.Reply(dbus.ObjectPath(jobPrefix + "5"))
	case "ListUnitsByPatterns":
		c.Reply([]listed{listedUnit("a.service", "active", 0)})
	default:
		c.Reply()
	}
}

func properties(state string, job uint32) map[string]dbus.Variant {
	return map[string]dbus.Variant{
		"LoadState":   dbus.MakeVariant("loaded"),
		"ActiveState": dbus.MakeVariant(state),
		"SubState":    dbus.MakeVariant("running"),
		"Result":      dbus.MakeVariant("success"),
		"Job":         dbus.MakeVariant(jobPair{job, "/"}),
		"Environment": dbus.MakeVariant([]string{"A=b"}),
	}
}

// propertyOf answers a Get of one property of a unit in this state, or of systemd's Version.
func propertyOf(c *bustest.Call, state string) dbus.Variant {
	p := properties(state, 0)
	for name, value := range map[string]any{
		"Version": "257.1", "InvocationID": []byte{1}, "InactiveExitTimestamp": uint64(1), "ActiveEnterTimestamp": uint64(2),
		"NRestarts": uint32(3), "StatusText": "hello",
	} {
		p[name] = dbus.MakeVariant(value)
	}
	name, _ := c.Body[1].(string)
	return p[name]
}

func with(p map[string]dbus.Variant, name string, value any) map[string]dbus.Variant {
	p[name] = dbus.MakeVariant(value)
	return p
}

type jobPair struct {
	ID   uint32
	Path dbus.ObjectPath
}

// listed is a row of ListUnitsByPatterns.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	Job                                             uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func listedUnit(name, state string, job uint32) listed {
	return listed{name, "", "loaded", state, "running", "", unitPath(name), job, "", "/"}
}
