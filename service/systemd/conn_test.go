package systemd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

const unit = "a.service"

// counted answers the first call with first, later ones with then.
func counted(first, then func(p *peer, call *dbus.Message)) func(*peer, *dbus.Message) {
	var calls atomic.Int32
	return func(p *peer, call *dbus.Message) {
		if calls.Add(1) == 1 {
			first(p, call)
		} else {
			then(p, call)
		}
	}
}

func failing(name string) func(*peer, *dbus.Message) {
	return func(p *peer, call *dbus.Message) { p.fail(call, name) }
}

func replying(body ...any) func(*peer, *dbus.Message) {
	return func(p *peer, call *dbus.Message) { p.reply(call, body...) }
}

func hangingUp(p *peer, _ *dbus.Message) { _ = p.conn.Close() }

func silent(*peer, *dbus.Message) {}

const (
	noReply  = "org.freedesktop.DBus.Error.NoReply"
	noOwner  = "org.freedesktop.DBus.Error.NameHasNoOwner"
	noUnit_  = "org.freedesktop.systemd1.NoSuchUnit"
	isThere_ = "org.freedesktop.systemd1.UnitExists"
)

func TestStartDecidesByTheUnit(t *testing.T) {
	t.Parallel()
	started := replying(dbus.ObjectPath(jobPrefix + "5"))
	now := uint64(time.Now().Add(time.Hour).UnixMicro())
	gone := with(properties("inactive", 0), "LoadState", "not-found")
	tests := map[string]struct {
		unit   scriptedUnit
		want   error
		starts int
	}{
		"no reply, but the unit is there": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             replying(with(properties("active", 0), "InactiveExitTimestamp", now)),
			}, nil, 1,
		},
		"no reply, and no unit": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             counted(replying(gone), replying(properties("active", 0))),
			}, nil, 2,
		},
		"no reply, and another's unit": {
			scriptedUnit{
				"StartTransientUnit": counted(failing(noReply), started),
				"GetAll":             replying(with(properties("active", 0), "InactiveExitTimestamp", uint64(1))),
			}, ErrUnitExists, 1,
		},
		"systemd was away": {
			scriptedUnit{"StartTransientUnit": counted(failing(noOwner), started)}, nil, 2,
		},
		"the bus went away": {
			scriptedUnit{"StartTransientUnit": counted(hangingUp, started)}, ErrDisconnected, 1,
		},
		"the unit exists": {
			scriptedUnit{"StartTransientUnit": failing(isThere_)}, ErrUnitExists, 1,
		},
		"no answer in time": {
			scriptedUnit{"StartTransientUnit": silent}, ErrDisconnected, 1,
		},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := newScriptedBus(t, test.unit.answer)
			c := bus.dial(func(config *Config) { config.CallTimeout = 500 * time.Millisecond })
			u, err := c.Start(testContext(t), unit, nil)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err == nil && u.ActiveState != "active" {
				t.Errorf("unit is %+v", u)
			}
			if n := bus.count("StartTransientUnit"); n != test.starts {
				t.Errorf("%d starts, want %d", n, test.starts)
			}
		})
	}
}

func TestStartWaitsWithoutSignals(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{
		"GetAll": counted(replying(properties("activating", 5)), replying(properties("active", 0))),
	}.answer)
	u, err := bus.dial(nil).Start(testContext(t), unit, nil)
	if err != nil || u.ActiveState != "active" {
		t.Errorf("start: %+v, %v", u, err)
	}
}

func TestStartBelievesTheUnitNotTheSignal(t *testing.T) {
	t.Parallel()
	var job atomic.Uint32
	job.Store(5)
	bus := newScriptedBus(t, scriptedUnit{
		"GetAll": func(p *peer, call *dbus.Message) { p.reply(call, properties("activating", job.Load())) },
	}.answer)
	c := bus.dial(nil)
	done := make(chan error, 1)
	go func() {
		_, err := c.Start(testContext(t), unit, nil)
		done <- err
	}()
	removed := func(result string) {
		bus.signal(owner, managerPath, "org.freedesktop.systemd1.Manager", "JobRemoved",
			uint32(5), dbus.ObjectPath(jobPrefix+"5"), unit, result)
	}
	waitFor(t, "the start", func() bool { return bus.count("StartTransientUnit") == 1 })
	removed("done")
	waitFor(t, "a look at the unit", func() bool { return bus.count("GetAll") > 0 })
	select {
	case err := <-done:
		t.Fatalf("the start ended with its job under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	job.Store(0)
	removed("dependency")
	wantJobError(t, <-done, "done", "dependency")
}

func TestJobResultIsGuessedWhenItsSignalIsLost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		unit        Unit
		start, stop string
	}{
		"running":    {Unit{ActiveState: "active", Result: "success"}, "done", "canceled"},
		"failed":     {Unit{ActiveState: "failed", Result: "exit-code"}, "failed", "done"},
		"restarting": {Unit{ActiveState: "activating", SubState: "auto-restart"}, "failed", "canceled"},
		"other job":  {Unit{ActiveState: "active", JobID: 7}, "canceled", "canceled"},
		"forgotten":  {Unit{LoadState: "not-found", ActiveState: "inactive", Result: "success"}, "done", "done"},
		"timed out":  {Unit{ActiveState: "deactivating", Result: "timeout"}, "failed", "canceled"},
	}
	for what, test := range tests {
		if got := guessStart(test.unit); got != test.start {
			t.Errorf("start, %s: %q, want %q", what, got, test.start)
		}
		if got := guessStop(test.unit); got != test.stop {
			t.Errorf("stop, %s: %q, want %q", what, got, test.stop)
		}
	}
}

func TestJobThatNeverEndsIsLeft(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{"GetAll": replying(properties("activating", 5))}.answer)
	c := bus.dial(func(config *Config) { config.JobTimeout = 100 * time.Millisecond })
	_, err := c.Start(testContext(t), unit, nil)
	wantError(t, "start", err, context.DeadlineExceeded)
}

func TestReadsOutliveARestartOfTheBus(t *testing.T) {
	t.Parallel()
	for what, first := range map[string]func(*peer, *dbus.Message){
		"the bus goes":   hangingUp,
		"systemd goes":   failing(noReply),
		"systemd is off": failing(noOwner),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := newScriptedBus(t, scriptedUnit{
				"GetAll": counted(first, replying(properties("active", 0))),
			}.answer)
			u, err := bus.dial(nil).Get(testContext(t), unit)
			if err != nil || u.ActiveState != "active" {
				t.Errorf("get: %+v, %v", u, err)
			}
		})
	}
}

func TestEveryCallEnds(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, silent)
	c := bus.dial(func(config *Config) { config.CallTimeout = 100 * time.Millisecond })
	calls := map[string]func(ctx context.Context) error{
		"get":     func(ctx context.Context) error { _, err := c.Get(ctx, unit); return err },
		"list":    func(ctx context.Context) error { _, err := c.List(ctx, unit); return err },
		"stop":    func(ctx context.Context) error { _, err := c.Stop(ctx, unit, 0); return err },
		"start":   func(ctx context.Context) error { _, err := c.Start(ctx, unit, nil); return err },
		"version": func(ctx context.Context) error { _, err := c.Version(ctx); return err },
		"reset":   func(ctx context.Context) error { return c.ResetFailed(ctx, unit) },
	}
	for what, call := range calls {
		begun := time.Now()
		wantError(t, what, call(context.Background()), ErrDisconnected)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		wantError(t, what, call(ctx), context.DeadlineExceeded)
		cancel()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}
}

func TestConcurrentCallsAreBounded(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	bus := newScriptedBus(t, func(p *peer, call *dbus.Message) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		p.reply(call, properties("active", 0))
	})
	c := bus.dial(func(config *Config) { config.MaxInFlight = 4 })
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := c.Get(testContext(t), fmt.Sprintf("%d.service", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 4 {
		t.Errorf("%d calls were in flight at once, want 4", most.Load())
	}
}

func TestRefusalsAreToldApart(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{
		"StartTransientUnit": failing("org.freedesktop.DBus.Error.PropertyReadOnly"),
		"ResetFailedUnit":    failing(noUnit_),
	}.answer)
	c := bus.dial(nil)
	_, err := c.Start(testContext(t), unit, nil)
	if err == nil || errors.Is(err, ErrDisconnected) || errors.Is(err, ErrUnitExists) {
		t.Errorf("start with a bad property: %v", err)
	}
	_, err = c.Start(testContext(t), unit, []Property{String("Description", "a\x00b")})
	if err == nil || errors.Is(err, ErrDisconnected) {
		t.Errorf("start with a NUL: %v", err)
	}
	wantError(t, "reset", c.ResetFailed(testContext(t), unit), ErrNoSuchUnit)
}

func TestOddRepliesAreErrors(t *testing.T) {
	t.Parallel()
	for _, body := range [][]any{{}, {"text"}, {uint32(1)}, {[]string{"a"}}, {dbus.ObjectPath("/job/x")}, {[]jobPair{{1, "/"}}}} {
		bus := newScriptedBus(t, scriptedUnit{
			"GetAll": replying(body...), "StopUnit": replying(body...), "ListUnitsByPatterns": replying(body...),
			"StartTransientUnit": replying(body...), "Get": replying(body...),
		}.answer)
		c := bus.dial(func(config *Config) { config.CallTimeout = 200 * time.Millisecond })
		for what, call := range map[string]func() error{
			"get":     func() error { _, err := c.Get(testContext(t), unit); return err },
			"list":    func() error { _, err := c.List(testContext(t), unit); return err },
			"stop":    func() error { _, err := c.Stop(testContext(t), unit, 0); return err },
			"start":   func() error { _, err := c.Start(testContext(t), unit, nil); return err },
			"version": func() error { _, err := c.Version(testContext(t)); return err },
		} {
			if err := call(); err == nil || errors.Is(err, ErrDisconnected) {
				t.Errorf("%s with reply %v: error %v", what, body, err)
			}
		}
	}
}

func TestOddSignalsDoNoHarm(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{}.answer)
	c := bus.dial(nil)
	bodies := [][]any{{}, {""}, {uint32(1)}, {"a", "b", "c", "d"}, {[]byte{1}, 2.0}, {dbus.MakeVariant(1)}}
	for _, body := range bodies {
		for _, sender := range []string{owner, busName, ":1.66", ""} {
			for _, member := range []string{"JobRemoved", "UnitRemoved", "Reloading"} {
				bus.signal(sender, managerPath, "org.freedesktop.systemd1.Manager", member, body...)
			}
			bus.signal(sender, "/", "org.freedesktop.DBus.Properties", "PropertiesChanged", body...)
			bus.signal(sender, unitPrefix+"_", "org.freedesktop.DBus.Properties", "PropertiesChanged", body...)
			bus.signal(sender, busPath, "org.freedesktop.DBus", "NameOwnerChanged", body...)
		}
	}
	before := c.comings.Load()
	if _, err := c.Get(testContext(t), unit); err != nil {
		t.Error(err)
	}
	if c.comings.Load() != before || before != 0 {
		t.Error("the connection was lost")
	}
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, silent)
	c := bus.dial(nil)
	done := make(chan error, 1)
	go func() { _, err := c.Get(context.Background(), unit); done <- err }()
	waitFor(t, "the call", func() bool { return bus.count("GetAll") == 1 })
	begun := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, "call under way", <-done, ErrClosed)
	_, err := c.Get(context.Background(), unit)
	wantError(t, "call afterwards", err, ErrClosed)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("close took %s", took)
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"tcp:host=localhost", "unix:path=/nonexistent", "unix:abstract=x", "unix:path=/a;unix:path=/b"} {
		if c, err := Dial(context.Background(), Config{Address: address}); err == nil {
			t.Errorf("dialled %s", address)
			_ = c.Close()
		}
	}
	bus := newScriptedBus(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, Config{Address: bus.address}); err == nil {
		t.Error("dialled with a context that had ended")
	}
}

func TestListReadsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	state := "active"
	var mu sync.Mutex
	now := func() string { mu.Lock(); defer mu.Unlock(); return state }
	bus := newScriptedBus(t, scriptedUnit{
		"ListUnitsByPatterns": func(p *peer, call *dbus.Message) {
			p.reply(call, []listed{
				listedUnit("b.service", "active", 0), listedUnit(unit, now(), 0),
				listedUnit("gone.service", "inactive", 0),
			})
		},
		"GetAll": func(p *peer, call *dbus.Message) {
			state := "active"
			if path, _ := call.Headers[dbus.FieldPath].Value().(dbus.ObjectPath); path == unitPath(unit) {
				state = now()
			}
			p.reply(call, properties(state, 0))
		},
	}.answer)
	c := bus.dial(nil)
	reads := func(what string, want int) {
		t.Helper()
		before := bus.count("GetAll")
		list, err := c.List(testContext(t), "*")
		if err != nil || len(list) != 2 || list[0].Name != unit || list[0].ActiveState != now() {
			t.Fatalf("%s: list %+v, %v", what, list, err)
		}
		if got := bus.count("GetAll") - before; got != want {
			t.Errorf("%s: %d units were read, want %d", what, got, want)
		}
	}
	settle := func() { // what was signalled before is handled then
		if _, err := c.Version(testContext(t)); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		c.link.setVersion(0)
		c.mu.Unlock()
	}
	reads("first", 2)
	reads("again", 0)
	bus.propertiesChanged(owner, unit)
	settle()
	reads("after a change", 1)
	bus.propertiesChanged(":1.66", unit)
	settle()
	reads("after a forged change", 0)
	mu.Lock()
	state = "failed"
	mu.Unlock()
	reads("after a change without a signal", 1)
	bus.signal(owner, managerPath, "org.freedesktop.systemd1.Manager", "UnitRemoved", unit, unitPath(unit))
	settle()
	reads("after a removal", 1)
	bus.signal(owner, managerPath, "org.freedesktop.systemd1.Manager", "Reloading", true)
	settle()
	reads("after a reload", 2)
	bus.signal(busName, busPath, busName, "NameOwnerChanged", destination, owner, ":1.2")
	waitFor(t, "the subscription", func() bool { return bus.count("Subscribe") == 2 })
	settle()
	reads("with another systemd", 2)
	reads("with another systemd again", 0)
	bus.propertiesChanged(owner, unit)
	settle()
	reads("after a change said by the old one", 0)
	bus.disconnect()
	waitFor(t, "the connection", func() bool { return bus.count("Subscribe") == 3 })
	reads("after a reconnection", 2)
	c.cache.expire(time.Now().Add(2 * maxAge))
	reads("after a long time", 2)
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

func TestStopLetsGoOfTheUnit(t *testing.T) {
	t.Parallel()
	failed := with(with(properties("failed", 0), "Result", "exit-code"), "ExecMainStatus", int32(7))
	tests := map[string]struct {
		unit  scriptedUnit
		reset int
		want  error
	}{
		"stopped":    {scriptedUnit{"GetAll": replying(properties("inactive", 0))}, 0, nil},
		"failed":     {scriptedUnit{"GetAll": replying(failed)}, 1, nil},
		"no unit":    {scriptedUnit{"StopUnit": failing(noUnit_)}, 0, ErrNoSuchUnit},
		"unreadable": {scriptedUnit{"GetAll": failing("org.example.Odd")}, 0, errAny},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := newScriptedBus(t, test.unit.answer)
			_, err := bus.dial(nil).Stop(testContext(t), unit, 0)
			if test.want == errAny && err == nil || test.want != errAny && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			got := []int{bus.count("Ref"), bus.count("Unref"), bus.count("ResetFailedUnit"), bus.count("KillUnit")}
			if d := cmp.Diff([]int{1, 1, test.reset, 0}, got); d != "" {
				t.Errorf("ref, unref, reset, kill (-want +got):\n%s", d)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestStopLetsGoWithoutItsCaller(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{"GetAll": replying(properties("deactivating", 5))}.answer)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := bus.dial(nil).Stop(ctx, unit, 10*time.Millisecond)
	wantError(t, "stop", err, context.DeadlineExceeded)
	got := []int{bus.count("Ref"), bus.count("Unref"), bus.count("KillUnit")}
	if d := cmp.Diff([]int{1, 1, 1}, got); d != "" {
		t.Errorf("ref, unref, kill (-want +got):\n%s", d)
	}
}
