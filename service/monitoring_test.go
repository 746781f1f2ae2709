package service

import (
	"context"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// dnsmasqID is the ID of a network's dnsmasq, as dnsmasqFor asks for it.
func dnsmasqID(network string) interfaces.ID {
	return interfaces.NewID("neutron-dhcp", "dnsmasq", "/var/lib/neutron/dhcp/"+network+"/pid")
}

func operator() Caller { return Caller{UID: 0, PID: 1, PIDFD: -1} }

// observed is a core whose events flow until the test ends. It must be called
// within a synctest bubble.
func observed(t *testing.T) *fakeHost {
	t.Helper()
	h := newFakeHost(t)
	h.observe(t)
	return h
}

func (h *fakeHost) observe(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.core.Observe(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// watch is a call of Watch whose events are fetched one by one.
type watch struct {
	events chan interfaces.Event
	done   chan error
	cancel context.CancelFunc
}

func (h *fakeHost) watch(t *testing.T, caller Caller, p interfaces.MonitorParameters) *watch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watch{events: make(chan interfaces.Event), done: make(chan error, 1), cancel: cancel}
	go func() {
		w.done <- h.core.Watch(ctx, caller, p, func(e interfaces.Event) error {
			select {
			case w.events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(cancel)
	return w
}

// said fetches what has been sent by the time that nothing goes on any more, in
// words: kind, ID and state.
func (w *watch) said() []string {
	var all []string
	for {
		time.Sleep(time.Second) // of the bubble: everything that can happen does
		select {
		case e := <-w.events:
			all = append(all, words(e))
		default:
			return all
		}
	}
}

func words(e interfaces.Event) string {
	s := string(e.Kind)
	if e.ID != nil {
		s += " " + *e.ID
	}
	if e.Sidecar != nil {
		s += " " + string(e.Sidecar.Runtime.State)
	}
	return s
}

func (h *fakeHost) launch(t *testing.T, network string) interfaces.Sidecar {
	t.Helper()
	reply, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor(network))
	if err != nil {
		t.Fatal(err)
	}
	return reply.Sidecar
}
