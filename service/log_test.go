package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// l3Agent is another agent than dhcpAgent.
func l3Agent() Caller { return Caller{Agent: "neutron-l3", PIDFD: -1} }

// readLog returns the messages that come, "end" for the end of those that exist.
func (h *fakeHost) readLog(ctx context.Context, caller Caller, p interfaces.ReadLogParameters) (said []string, err error) {
	err = h.core.ReadLog(ctx, caller, p, func(e *interfaces.LogEntry) error {
		if e == nil {
			said = append(said, "end")
		} else {
			said = append(said, e.Message)
		}
		return nil
	})
	return said, err
}

// TestLogShowsWhatTheCallerSees: an agent reads the log of its own sidecars only, whether they
// run or not.
func TestLogShowsWhatTheCallerSees(t *testing.T) {
	t.Parallel()
	own, other := dnsmasqID("net-1"), interfaces.NewID("neutron-l3", "radvd", "x")
	for name, test := range map[string]struct {
		caller Caller
		p      interfaces.ReadLogParameters
		want   []string
		err    error
	}{
		"own":                {dhcpAgent(), interfaces.ReadLogParameters{}, []string{"own", "end"}, nil},
		"own, by ID":         {dhcpAgent(), interfaces.ReadLogParameters{ID: new(own.String())}, []string{"own", "end"}, nil},
		"another's, by ID":   {dhcpAgent(), interfaces.ReadLogParameters{ID: new(other.String())}, nil, interfaces.ErrNoSuchSidecar},
		"another's, by name": {dhcpAgent(), interfaces.ReadLogParameters{Agent: new("neutron-l3")}, nil, interfaces.ErrNoSuchAgent},
		"all":                {operator(), interfaces.ReadLogParameters{}, []string{"own", "other", "end"}, nil},
		"of a profile":       {operator(), interfaces.ReadLogParameters{Profile: new("radvd")}, []string{"other", "end"}, nil},
		"of an agent":        {operator(), interfaces.ReadLogParameters{Agent: new("neutron-l3")}, []string{"other", "end"}, nil},
		"before the epoch":   {dhcpAgent(), interfaces.ReadLogParameters{SinceUSec: new(int64(-1))}, nil, interfaces.ErrInvalidParameter},
		"stranger":           {Caller{UID: 1000, PIDFD: -1}, interfaces.ReadLogParameters{}, nil, interfaces.ErrPermissionDenied},
	} {
		h := newFakeHost(t)
		h.journal.entries = []interfaces.LogEntry{{ID: own.String(), Message: "own"}, {ID: other.String(), Message: "other"}}
		got, err := h.readLog(t.Context(), test.caller, test.p)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		diff(t, name, test.want, got)
	}
}

// TestLogOfAStuckJournal: what could be read comes before the error.
func TestLogOfAStuckJournal(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.journal.entries = []interfaces.LogEntry{{ID: dnsmasqID("net-1").String(), Message: "own"}}
	h.journal.stuck = errors.New("journald does not answer")
	got, err := h.readLog(t.Context(), dhcpAgent(), interfaces.ReadLogParameters{Follow: new(true)})
	if !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("got %v, want ErrHostFailure", err)
	}
	diff(t, "entries", []string{"own"}, got)
}

// TestLogFollowers: followers are bounded for each caller and for all agents, an operator is not
// kept out by agents, and one that ends makes room.
func TestLogFollowers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		follow := func(caller Caller) (cancel func() error) {
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := h.readLog(ctx, caller, interfaces.ReadLogParameters{Follow: new(true)})
				done <- err
			}()
			synctest.Wait()
			return func() error {
				stop()
				return <-done
			}
		}
		var last func() error
		for i := range followersTotal {
			last = follow(Caller{Agent: fmt.Sprintf("agent-%d", i/followersEach), PIDFD: -1})
		}
		for _, caller := range []Caller{{Agent: "agent-0", PIDFD: -1}, l3Agent()} {
			if err := follow(caller)(); !errors.Is(err, interfaces.ErrOverloaded) {
				t.Errorf("%s: %v, want ErrOverloaded", caller.Agent, err)
			}
		}
		if got, err := h.readLog(t.Context(), l3Agent(), interfaces.ReadLogParameters{}); err != nil {
			t.Errorf("a read: %v, %v", got, err)
		}
		for range followersEach {
			defer follow(operator())()
		}
		if err := follow(operator())(); !errors.Is(err, interfaces.ErrOverloaded) {
			t.Errorf("an operator's fifth: %v", err)
		}
		if err := last(); !errors.Is(err, context.Canceled) {
			t.Errorf("end: %v", err)
		}
		if err := follow(l3Agent())(); !errors.Is(err, context.Canceled) {
			t.Errorf("after one has ended: %v", err)
		}
	})
}

// TestLogThatIsNotTaken: a caller that takes no entries does not keep the place of a reader.
func TestLogThatIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		for range 3 {
			h.journal.entries = append(h.journal.entries, interfaces.LogEntry{ID: dnsmasqID("net-1").String()})
		}
		var sent atomic.Int32
		err := h.core.ReadLog(t.Context(), dhcpAgent(), interfaces.ReadLogParameters{}, func(*interfaces.LogEntry) error {
			sent.Add(1)
			time.Sleep(takeTimeout)
			return nil
		})
		if !errors.Is(err, interfaces.ErrOverloaded) || sent.Load() > 2 {
			t.Errorf("%v after %d entries", err, sent.Load())
		}
		h.nothingHeld(t.Context(), t)
	})
}

// TestUsage reads the files of a control group, some of which a host may lack.
func TestUsage(t *testing.T) {
	t.Parallel()
	group := t.TempDir()
	diff(t, "a group that has gone", &interfaces.Usage{}, usageOf(filepath.Join(group, "none")))
	for name, text := range map[string]string{
		"cpu.stat": "usage_usec 1234567\nuser_usec 1000000\n", "memory.current": "max\n", "pids.current": "3\n",
	} {
		if err := os.WriteFile(filepath.Join(group, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, "usage", &interfaces.Usage{CPUUSec: new(int64(1234567)), Tasks: new(int64(3))}, usageOf(group))
	if got := HostUsage("sidecar-a.b.0123456789ab.service", os.Getpid()); got != nil {
		t.Errorf("a process that is not in the unit: %+v", got)
	}
}

// TestUsageIsAskedFor: List reads no control group otherwise.
func TestUsageIsAskedFor(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.units.OnStart = always(systemd.ReadyAs(launcher.FormatStatus(4711, "")))
	h.launched(t)
	looks := 0
	h.core.Usage = func(string, int) *interfaces.Usage {
		looks++
		return &interfaces.Usage{Tasks: new(int64(7))}
	}
	for _, asked := range []*bool{nil, new(false), new(true)} {
		all, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{Usage: asked})
		if err != nil || (all[0].Runtime.Usage != nil) != (asked != nil && *asked) {
			t.Errorf("%v: %+v, %v", asked, all, err)
		}
	}
	if looks != 1 {
		t.Errorf("%d looks at a control group", looks)
	}
}
