package systemd

import (
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
}

func newListedBus(t *testing.T) *listedBus {
	b := &listedBus{}
	b.state.Store("active")
	b.scriptedBus = newScriptedBus(t, scriptedUnit{
		"ListUnitsByPatterns": func(c *bustest.Call) {
			c.Reply([]listed{
				listedUnit("b.service", "active", 0), listedUnit(unit, b.state.Load().(string), 0),
				listedUnit("gone.service", "inactive", 0),
			})
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
		{"a long time", func() { c.cache.expire(time.Now().Add(2 * maxAge)) }, 2},
	}
	for _, step := range steps {
		step.do()
		if err := c.ResetFailed(testContext(t), "x.service"); err != nil {
			t.Fatal(err) // its reply comes after the signals
		}
		before := bus.count("GetAll")
		list, err := c.List(testContext(t), "*")
		if err != nil || len(list) != 2 || list[0].Name != unit || list[0].ActiveState != bus.state.Load() {
			t.Fatalf("%s: list %+v, %v", step.what, list, err)
		}
		if got := bus.count("GetAll") - before; got != step.reads {
			t.Errorf("%s: %d units were read, want %d", step.what, got, step.reads)
		}
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
		if _, ok := c.lookup(fits); ok {
			t.Errorf("%s: what was read before is answered", what)
		}
	}
	c.reset(true)
	c.store(c.begin(path), old, time.Now())
	if _, ok := c.lookup(fits); !ok {
		t.Error("what was read is not kept")
	}
}
