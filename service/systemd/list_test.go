package systemd

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus/bustest"
)

// listedBus has two units, one of which can change its state, and counts reads.
type listedBus struct {
	*scriptedBus
	state atomic.Value // of unit
	// set before the first call
	more   []string              // other units
	during func(c *bustest.Call) // called before a property is answered
}

func newListedBus(t *testing.T) *listedBus {
	b := &listedBus{}
	b.state.Store("active")
	b.scriptedBus = newScriptedBus(t, scriptedUnit{
		"ListUnitsByPatterns": func(c *bustest.Call) {
			list := []listed{
				listedUnit("b.service", "active", 0), listedUnit(unit, b.state.Load().(string), 0),
				listedUnit("gone.service", "inactive", 0),
			}
			for _, name := range b.more {
				list = append(list, listedUnit(name, "active", 0))
			}
			c.Reply(list)
		},
		"Get": func(c *bustest.Call) {
			if b.during != nil {
				b.during(c)
			}
			c.Reply(propertyOf(c, b.state.Load().(string)))
		},
		"GetAll": func(c *bustest.Call) {
			state := "active"
			if c.Headers[dbus.FieldPath].Value() == unitPath(unit) {
				state = b.state.Load().(string)
			}
			c.Reply(properties(state, 0))
		},
	}.answer)
	return b
}

func TestListReadsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	bus := newListedBus(t)
	c := bus.dial(nil)
	manager := func(member string, body ...any) {
		bus.Signal(owner, managerPath, "org.freedesktop.systemd1.Manager", member, body...)
	}
	steps := []struct {
		what  string
		do    func()
		reads int
	}{
		{"first", func() {}, 2},
		{"again", func() {}, 0},
		{"a change", func() { bus.propertiesChanged(owner, unit) }, 1},
		{"a forged change", func() { bus.propertiesChanged(":1.66", unit) }, 0},
		{"a change without a signal", func() { bus.state.Store("failed") }, 1},
		{"a removal", func() { manager("UnitRemoved", unit, unitPath(unit)) }, 1},
		{"a reload", func() { manager("Reloading", true) }, 2},
		{"another systemd", func() {
			bus.Signal(busName, busPath, busName, "NameOwnerChanged", destination, owner, ":1.2")
			waitFor(t, "the subscription", func() bool { return bus.count("Subscribe") == 2 && c.cache.isLive() })
		}, 2},
		{"another systemd again", func() {}, 0},
		{"a change said by the old one", func() { bus.propertiesChanged(owner, unit) }, 0},
		{"a reconnection", func() {
			bus.Disconnect()
			waitFor(t, "the connection", func() bool { return bus.count("Subscribe") == 3 && c.cache.isLive() })
		}, 2},
		{"a minute", func() { c.cache.age(2 * maxAge) }, 2},
		{"a minute's end", func() {}, 0},
	}
	for _, step := range steps {
		step.do()
		if err := c.ResetFailed(testContext(t), "x.service"); err != nil {
			t.Fatal(err) // its reply comes after the signals
		}
		before := bus.reads()
		list, err := c.List(testContext(t), "*")
		if err != nil || len(list) != 2 || list[0].Name != unit || list[0].ActiveState != bus.state.Load() {
			t.Fatalf("%s: list %+v, %v", step.what, list, err)
		}
		if got := bus.reads() - before; got != step.reads {
			t.Errorf("%s: %d units were read, want %d", step.what, got, step.reads)
		}
	}
}

// age makes the entries older.
func (c *cache) age(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		e.read, e.used = e.read.Add(-by), e.used.Add(-by)
	}
}

// One List reads only some of many units that have only become old, and Lists that come
// together read each unit once.
func TestListReadsManyUnitsOnce(t *testing.T) {
	t.Parallel()
	const many = 5 * maxOld
	bus := newListedBus(t)
	for i := range many {
		bus.more = append(bus.more, fmt.Sprintf("more-%d.service", i))
	}
	c := bus.dial(nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if list, err := c.List(testContext(t), "*"); err != nil || len(list) != 2+many {
				t.Errorf("%d units, %v", len(list), err)
			}
		})
	}
	all.Wait()
	if got := bus.reads(); got != 2+many {
		t.Errorf("four Lists at once have read %d units, want %d", got, 2+many)
	}
	c.cache.age(2 * maxAge)
	for range 2 {
		before := bus.reads()
		list, err := c.List(testContext(t), "*")
		if got := bus.reads() - before; err != nil || len(list) != 2+many || got != maxOld {
			t.Errorf("after a minute: %d units, %v; %d were read, want %d", len(list), err, got, maxOld)
		}
	}
	c.cache.age(2 * maxUnused)
	c.cache.find(nil, time.Now())
	if len(c.cache.entries) > 0 {
		t.Errorf("%d entries are kept that nobody has asked for", len(c.cache.entries))
	}
}

// A unit that changes while List reads its details is read again at one moment, and so is
// one of which systemd refuses a detail.
func TestListReadsAtOneMoment(t *testing.T) {
	t.Parallel()
	for name, during := range map[string]func(b *listedBus, c *bustest.Call){
		"changes":          func(b *listedBus, _ *bustest.Call) { b.propertiesChanged(owner, unit) },
		"is not a service": func(_ *listedBus, c *bustest.Call) { c.Fail("org.freedesktop.DBus.Error.UnknownInterface") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newListedBus(t)
			b.during = func(c *bustest.Call) {
				if c.Headers[dbus.FieldPath].Value() == unitPath(unit) && c.Body[1] == "StatusText" {
					during(b, c)
				}
			}
			c := b.dial(nil)
			list, err := c.List(testContext(t), "*")
			if err != nil || len(list) != 2 {
				t.Fatal(list, err)
			}
			if list[0].StatusText != "" || list[1].StatusText != "hello" || b.count("GetAll") != 1 {
				t.Errorf("%d units were read at one moment, want 1: %+v", b.count("GetAll"), list)
			}
		})
	}
}

func (c *cache) isLive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live
}

// A read that a change overtakes must not be kept.
func TestListForgetsReadsThatChangesOvertook(t *testing.T) {
	t.Parallel()
	var c cache
	c.reset(true)
	path := unitPath(unit)
	old := Unit{Name: unit, LoadState: "loaded", ActiveState: "active"}
	fits := row{name: unit, load: "loaded", active: "active", path: path}
	for what, change := range map[string]func(){
		"touched": func() { c.touch(path) },
		"removed": func() { c.remove(path) },
		"cleared": func() { c.clear() },
		"off":     func() { c.reset(false) },
	} {
		c.reset(true)
		r := c.begin(path)
		change()
		c.store(r, old, time.Now())
		if units, _ := c.find([]row{fits}, time.Now()); len(units) > 0 {
			t.Errorf("%s: what was read before is answered", what)
		}
	}
	c.reset(true)
	c.store(c.begin(path), old, time.Now())
	if units, _ := c.find([]row{fits}, time.Now()); len(units) == 0 {
		t.Error("what was read is not kept")
	}
}
