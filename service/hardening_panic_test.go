package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// trap panics at one call of one method of the fakes.
type trap struct {
	mu     sync.Mutex
	method string
	left   int // calls of the method until it panics
	sprung bool
}

func (t *trap) pass(method string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if method != t.method || t.sprung {
		return
	}
	if t.left--; t.left <= 0 {
		t.sprung = true
		panic("a scripted panic in " + method)
	}
}

// trappedUnits panic before or after a method does its work.
type trappedUnits struct {
	*systemd.Fake
	*trap
}

func (u trappedUnits) Start(ctx context.Context, name string, p []systemd.Property) (systemd.Unit, error) {
	u.pass("Start")
	defer u.pass("Start, late")
	return u.Fake.Start(ctx, name, p)
}

func (u trappedUnits) Stop(ctx context.Context, name string, killAfter time.Duration) (systemd.Unit, error) {
	u.pass("Stop")
	defer u.pass("Stop, late")
	return u.Fake.Stop(ctx, name, killAfter)
}

func (u trappedUnits) Get(ctx context.Context, name string) (systemd.Unit, error) {
	u.pass("Get")
	return u.Fake.Get(ctx, name)
}

func (u trappedUnits) List(ctx context.Context, pattern string) ([]systemd.Unit, error) {
	u.pass("List")
	return u.Fake.List(ctx, pattern)
}

type trappedNamespaces struct {
	*fakeNamespaces
	*trap
}

func (n trappedNamespaces) Check(caller Caller, name string) error {
	n.pass("Check")
	return n.fakeNamespaces.Check(caller, name)
}

func (n trappedNamespaces) Has(caller Caller, name string, pid int) (bool, error) {
	n.pass("Has")
	return n.fakeNamespaces.Has(caller, name, pid)
}

func (n trappedNamespaces) OfCaller(caller Caller) (*string, error) {
	n.pass("OfCaller")
	return n.fakeNamespaces.OfCaller(caller)
}

type trappedJournal struct {
	*fakeJournal
	*trap
}

func (j trappedJournal) Record(d Decision) {
	j.pass("Record")
	j.fakeJournal.Record(d)
}

func (j trappedJournal) Output(ctx context.Context, id interfaces.ID, invocation string, started time.Time) []string {
	j.pass("Output")
	return j.fakeJournal.Output(ctx, id, invocation, started)
}

func (j trappedJournal) Entries(ctx context.Context, q LogQuery) ([]interfaces.LogEntry, LogEnd, error) {
	j.pass("Entries")
	return j.fakeJournal.Entries(ctx, q)
}

type trappedSignals struct {
	*fakeSignals
	*trap
}

func (s trappedSignals) Signal(pid int, controlGroup, signal string) error {
	s.pass("Signal")
	return s.fakeSignals.Signal(pid, controlGroup, signal)
}

// trapped is a host whose fakes panic at one call of a method.
func trapped(t *testing.T, method string, call int) (*fakeHost, *trap) {
	t.Helper()
	h, trap := newFakeHost(t), &trap{method: method, left: call}
	h.netns.own = new("qdhcp-net-1")
	h.core.Units = trappedUnits{h.units, trap}
	h.core.Namespaces = trappedNamespaces{h.netns, trap}
	h.core.Journal = trappedJournal{h.journal, trap}
	h.core.Signaller = trappedSignals{h.signals, trap}
	h.core.Authority = &polkit.Fake{Answer: func(context.Context, polkit.Request) (polkit.Verdict, error) {
		trap.pass("Authority")
		return polkit.Authorised, nil
	}}
	return h, trap
}

// guarded makes a call as a transport does, which catches its panics.
func guarded(call func() error) {
	defer func() { _ = recover() }()
	_ = call()
}

// everything makes calls of every method that takes something, in an order in which
// each can succeed.
func (h *fakeHost) everything(ctx context.Context) {
	own, failing := dnsmasqFor("net-1"), dnsmasqFor("net-2")
	own.NetworkNamespace = nil
	kept := own
	kept.Mode = new(interfaces.ModeKeep)
	launched := func(p interfaces.LaunchParameters) func() error {
		return func() error {
			_, err := h.core.Launch(ctx, dhcpAgent(), p)
			return err
		}
	}
	h.units.OnStart = func(name string, _ []systemd.Property) systemd.Outcome {
		if name == dnsmasqID("net-2").Unit() {
			return systemd.FailedWith(3)
		}
		return systemd.ReadyAs(launcher.FormatStatus(4711, ""))
	}
	for _, p := range []interfaces.LaunchParameters{own, own, kept, failing, failing} {
		guarded(launched(p))
	}
	id := dnsmasqID("net-1").String()
	for _, caller := range []Caller{dhcpAgent(), somebody()} {
		for _, call := range methods(h, caller, id, nil) {
			guarded(func() error { return call(ctx) })
		}
	}
}

// TestHardeningPanic has every call of every method of the fakes panic, one at a time.
// Nothing stays locked, taken or counted, and the same launch succeeds afterwards.
func TestHardeningPanic(t *testing.T) {
	t.Parallel()
	for _, method := range []string{
		"Start", "Start, late", "Stop", "Stop, late", "Get", "List", "Check", "Has", "OfCaller", "Record", "Output", "Entries", "Signal", "Authority",
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			for call := 1; ; call++ {
				h, trap := trapped(t, method, call)
				h.observe(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				h.everything(ctx)
				if !trap.sprung {
					if call == 1 {
						t.Error("it is never called")
					}
					return
				}
				h.nothingHeld(ctx, t)
				if _, err := h.core.Launch(ctx, dhcpAgent(), dnsmasqFor("net-1")); err != nil {
					t.Errorf("call %d: the launch afterwards: %v", call, err)
				}
				h.nothingHeld(ctx, t)
			}
		})
	}
}

// TestHardeningPanicInADetachedLaunch shows that the caller and the log hear of it.
func TestHardeningPanicInADetachedLaunch(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Start", "Start, late"} {
		h, _ := trapped(t, method, 1)
		var log bytes.Buffer
		h.core.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1")); !errors.Is(err, interfaces.ErrHostFailure) {
			t.Errorf("%s: got %v, want a host failure", method, err)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "a scripted panic") || !strings.Contains(text, "hardening_panic_test.go") {
			t.Errorf("%s: the log is %q, want one line with the panic and its stack", method, text)
		}
		decisions := h.journal.recorded("Launch")
		if len(decisions) != 2 || !decisions[1].Outcome || decisions[1].Err == nil {
			t.Errorf("%s: the journal has %+v, want an outcome", method, decisions)
		}
	}
}

// nothingHeld holds the core to have given back everything, once the launches that go
// on without their callers are over.
func (h *fakeHost) nothingHeld(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := h.core.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	c := h.core
	for end := time.Now().Add(10 * time.Second); c.lists.InUse() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // the observer of changes lists units by itself
	}
	held := map[string]string{}
	for name, q := range map[string]interface{ InUse() int }{
		"starts": c.starts, "stops": c.stops, "lists": c.lists, "outputs": c.outputs, "locks": c.locks.turns,
		"readers": c.agentLogs.readers, "followers": c.agentLogs.followers, "operators' readers": c.operatorLogs.readers, "operators' followers": c.operatorLogs.followers,
		"questions": c.questions.quick, "interactive questions": c.questions.interactive,
	} {
		if q.InUse() > 0 {
			held[name] = fmt.Sprintf("%+v", q)
		}
	}
	c.locks.mu.Lock()
	if len(c.locks.launches) > 0 {
		held["launches"] = fmt.Sprint(c.locks.launches)
	}
	c.locks.mu.Unlock()
	c.limits.mu.Lock()
	for agent, n := range c.limits.agents {
		if len(n.inFlight)+n.counting+len(n.recent) > 0 {
			held["limits of "+agent] = fmt.Sprintf("%+v", n)
		}
	}
	c.limits.mu.Unlock()
	for _, reader := range []Caller{dhcpAgent(), operator(), somebody()} {
		for n := range events.MaxPerReader {
			s, err := c.events.Subscribe(reader.LimitKey(), func(interfaces.ID) bool { return false })
			if err != nil {
				held["subscriptions of "+reader.LimitKey()] = fmt.Sprint(events.MaxPerReader - n)
				break
			}
			defer s.Close()
		}
	}
	diff(t, "held", map[string]string{}, held)
}
