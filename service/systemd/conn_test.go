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

	"tripleo.io/sidecar/internal/bus/bustest"
)

const unit = "a.service"

// counted answers the first call with first, later ones with then.
func counted(first, then func(c *bustest.Call)) func(*bustest.Call) {
	var calls atomic.Int32
	return func(c *bustest.Call) {
		if calls.Add(1) == 1 {
			first(c)
		} else {
			then(c)
		}
	}
}

func failing(name string) func(*bustest.Call) {
	return func(c *bustest.Call) { c.Fail(name, "scripted") }
}

func replying(body ...any) func(*bustest.Call) {
	return func(c *bustest.Call) { c.Reply(body...) }
}

func hangingUp(c *bustest.Call) { c.HangUp() }

func silent(*bustest.Call) {}

const (
	noReply  = "org.freedesktop.DBus.Error.NoReply"
	noOwner  = "org.freedesktop.DBus.Error.NameHasNoOwner"
	notThere = "org.freedesktop.systemd1.NoSuchUnit"
	isThere  = "org.freedesktop.systemd1.UnitExists"
)

func TestReadsOutliveARestartOfTheBus(t *testing.T) {
	t.Parallel()
	for what, first := range map[string]func(*bustest.Call){
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
	c := bus.dialImpatient(100 * time.Millisecond)
	calls := map[string]func(ctx context.Context) error{
		"get":   func(ctx context.Context) error { _, err := c.Get(ctx, unit); return err },
		"list":  func(ctx context.Context) error { _, err := c.List(ctx, unit); return err },
		"stop":  func(ctx context.Context) error { _, err := c.Stop(ctx, unit, 0); return err },
		"start": func(ctx context.Context) error { _, err := c.Start(ctx, unit, nil); return err },
		"reset": func(ctx context.Context) error { return c.ResetFailed(ctx, unit) },
	}
	for what, call := range calls {
		begun := time.Now()
		wantError(t, what, call(context.Background()), ErrDisconnected)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		wantError(t, what, call(ctx), context.DeadlineExceeded)
		cancel()
		if took := time.Since(begun); took > 9*time.Second { // less than the default time-out
			t.Errorf("%s took %s", what, took)
		}
	}
}

func TestConcurrentCallsAreBounded(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	full, once := make(chan struct{}), sync.Once{} // closed when as many are in flight as may be
	bus := newScriptedBus(t, func(c *bustest.Call) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 4 {
			once.Do(func() { close(full) })
		}
		<-full
		time.Sleep(5 * time.Millisecond) // one more could come
		now.Add(-1)
		c.Reply(properties("active", 0))
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

// TestConcurrentAbandonedCallsAreBounded shows that a call whose caller has gone
// counts until it is answered.
func TestConcurrentAbandonedCallsAreBounded(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	bus := newScriptedBus(t, func(c *bustest.Call) {
		<-answer
		c.Reply(properties("active", 0))
	})
	c := bus.dial(func(config *Config) { config.MaxInFlight = 4 })
	for sent := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := c.Get(ctx, unit); done <- err }()
		waitFor(t, "the call", func() bool { return bus.count("GetUnit") == sent+1 })
		cancel()
		wantError(t, "call of one who leaves", <-done, context.Canceled)
	}
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := c.Get(ctx, unit)
		wantError(t, "call of one who finds no room", err, context.DeadlineExceeded)
		cancel()
	}
	if n := bus.count("GetUnit"); n != 4 {
		t.Errorf("%d calls were sent and not answered, want 4", n)
	}
	close(answer)
	if _, err := c.Get(testContext(t), unit); err != nil {
		t.Errorf("after the answers: %v", err)
	}
}

func TestRefusalsAreToldApart(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{
		"StartTransientUnit": failing("org.freedesktop.DBus.Error.PropertyReadOnly"),
		"ResetFailedUnit":    failing(notThere),
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
		c := bus.dial(nil)
		for what, call := range map[string]func() error{
			"get":   func() error { _, err := c.Get(testContext(t), unit); return err },
			"list":  func() error { _, err := c.List(testContext(t), unit); return err },
			"stop":  func() error { _, err := c.Stop(testContext(t), unit, 0); return err },
			"start": func() error { _, err := c.Start(testContext(t), unit, nil); return err },
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
				bus.Signal(sender, managerPath, "org.freedesktop.systemd1.Manager", member, body...)
			}
			bus.Signal(sender, "/", "org.freedesktop.DBus.Properties", "PropertiesChanged", body...)
			bus.Signal(sender, unitPrefix+"_", "org.freedesktop.DBus.Properties", "PropertiesChanged", body...)
			bus.Signal(sender, busPath, "org.freedesktop.DBus", "NameOwnerChanged", body...)
		}
	}
	before := c.restarts.Load()
	if _, err := c.Get(testContext(t), unit); err != nil {
		t.Error(err)
	}
	if c.restarts.Load() != before || before != 0 {
		t.Error("the connection was lost")
	}
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, silent)
	c := bus.dial(nil)
	done := make(chan error, 1)
	go func() { _, err := c.Get(context.Background(), unit); done <- err }()
	waitFor(t, "the call", func() bool { return bus.count("GetUnit") == 1 })
	begun := time.Now() // the time-out of the call is a minute
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, "call under way", <-done, ErrClosed)
	_, err := c.Get(context.Background(), unit)
	wantError(t, "call afterwards", err, ErrClosed)
	if took := time.Since(begun); took > 30*time.Second {
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
	if _, err := Dial(ctx, Config{Address: bus.Address}); err == nil {
		t.Error("dialled with a context that had ended")
	}
}

// TestGetDoesNotReadAUnitThatIsNotThere: systemd would load it.
func TestGetDoesNotReadAUnitThatIsNotThere(t *testing.T) {
	t.Parallel()
	bus := newScriptedBus(t, scriptedUnit{"GetUnit": failing("org.freedesktop.systemd1.NoSuchUnit")}.answer)
	_, err := bus.dial(nil).Get(t.Context(), unit)
	wantError(t, "a unit that is not there", err, ErrNoSuchUnit)
	if n := bus.count("GetAll"); n != 0 {
		t.Errorf("it was read %d times", n)
	}
}
