package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// host is a systemd in memory. Its sidecars have nothing but an ID, a state and an
// invocation.
type host struct {
	*systemd.Fake
	observer *Observer
	panics   atomic.Bool // of Sidecar

	mu    sync.Mutex
	ended []string
	whole int // how many looks read all units because changes may have been missed
}

// newHost returns a host whose units are observed until the test ends.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{Fake: &systemd.Fake{}}
	h.observer = New(h, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.observer.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return h
}

func (h *host) Sidecar(u systemd.Unit) interfaces.Sidecar {
	if h.panics.Load() {
		panic("a bug")
	}
	id, _ := interfaces.ParseUnit(u.Name)
	state := interfaces.StateStarting
	switch u.ActiveState {
	case "active":
		state = interfaces.StateReady
	case "failed":
		state = interfaces.StateFailed
	}
	return interfaces.Sidecar{ID: id.String(), Runtime: interfaces.Runtime{State: state, InvocationID: &u.InvocationID}}
}

func (h *host) Looked(ended []interfaces.ID, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ended {
		h.ended = append(h.ended, id.String())
	}
	if all {
		h.whole++
	}
}

func (*host) Restarted(interfaces.ID, int64) {} // TestMetricsCensus looks at it

func idOf(name string) interfaces.ID { return interfaces.NewID("agent", "p", name) }

func (h *host) start(t *testing.T, name string) {
	t.Helper()
	if _, err := h.Start(t.Context(), idOf(name).Unit(), nil); err != nil {
		t.Fatal(err)
	}
}

func (h *host) subscribe(t *testing.T, reader string) *Subscription {
	t.Helper()
	s, err := h.observer.Subscribe(reader, func(interfaces.ID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// told returns the kinds of all events until nothing happens any more, each with its ID.
func told(t *testing.T, s *Subscription) []string {
	t.Helper()
	var all []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // of the bubble
		event, err := s.Next(ctx)
		cancel()
		if err != nil {
			return all
		}
		text := string(event.Kind)
		if event.ID != nil {
			text += " " + *event.ID
		}
		all = append(all, text)
	}
}

func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestMonitorObserver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(t, "a")
		a, b := " "+idOf("a").String(), " "+idOf("b").String()
		s := h.subscribe(t, "")
		same(t, "the state", []string{"present" + a, "synchronized"}, told(t, s))
		h.start(t, "b")
		same(t, "a start", []string{"started" + b, "ready" + b}, told(t, s))
		h.Exit(idOf("b").Unit(), 7)
		same(t, "a failure", []string{"failed" + b}, told(t, s))
		h.Exit(idOf("a").Unit(), 0)
		same(t, "an end", []string{"stopped" + a}, told(t, s))
		h.mu.Lock()
		defer h.mu.Unlock()
		same(t, "what has ended", []string{idOf("b").String(), idOf("a").String()}, h.ended)
		if h.whole != 1 {
			t.Errorf("%d looks at all units, want only the first", h.whole)
		}
	})
}

// TestMonitorObserverQueue fills a queue, which costs its reader all events and others none.
func TestMonitorObserverQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		slow, fast := h.subscribe(t, ""), h.subscribe(t, "")
		told(t, slow)
		told(t, fast)
		want := []string{"overrun"}
		for n := range MaxQueue/2 + 1 {
			h.start(t, fmt.Sprint(n))
			if got := told(t, fast); len(got) != 2 {
				t.Fatalf("start %d: the other reader is told %q", n, got)
			}
		}
		for _, id := range sorted(h.observer.known) {
			want = append(want, "present "+id.String())
		}
		same(t, "the slow reader", append(want, "synchronized"), told(t, slow))
		if n := h.observer.Overruns(); n != 1 {
			t.Errorf("%d overruns", n)
		}
	})
}

func TestMonitorObserverLimit(t *testing.T) {
	t.Parallel()
	o := New(nil, slog.New(slog.DiscardHandler))
	all := func(interfaces.ID) bool { return true }
	var last *Subscription
	for range MaxPerReader {
		var err error
		if last, err = o.Subscribe("agent a", all); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Subscribe("", all); err != nil {
			t.Error(err)
		}
	}
	if _, err := o.Subscribe("agent a", all); !errors.Is(err, interfaces.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := o.Subscribe("agent b", all); err != nil {
		t.Errorf("another reader: %v", err)
	}
	last.Close()
	if _, err := o.Subscribe("agent a", all); err != nil {
		t.Errorf("after a close: %v", err)
	}
}

// TestHardeningPanicInALook shows that the next look makes good for one that panicked.
func TestHardeningPanicInALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		s := h.subscribe(t, "")
		told(t, s)
		h.panics.Store(true)
		h.start(t, "a")
		same(t, "while it panics", nil, told(t, s))
		h.panics.Store(false)
		time.Sleep(2 * RetryPause)
		h.observer.Alive()
		a := " " + idOf("a").String()
		same(t, "afterwards", []string{"started" + a, "ready" + a}, told(t, s))
	})
}
