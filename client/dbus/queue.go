package dbus

import (
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// maxQueued is how many signals wait for a slow reader.
const maxQueued = 1000

// signal is one of the manager's, as everybody hears it.
type signal struct {
	kind  interfaces.EventKind
	id    string
	state interfaces.SidecarState
}

// queue are the signals that were heard and not told yet. It never makes the
// connection's reader wait.
type queue struct {
	limit  int
	filled chan struct{} // has an element if there is something to take

	mu      sync.Mutex
	heard   []signal
	overrun bool // some were dropped
	left    bool // the service is not on the bus any more, or another one is
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, filled: make(chan struct{}, 1)}
}

// DeliverSignal implements godbus.SignalHandler. Only the bus and the service are
// heard; see session.accept.
func (q *queue) DeliverSignal(_, _ string, s *godbus.Signal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.Sender == bus.Name {
		if s.Name != bus.Name+".NameOwnerChanged" {
			return
		}
		q.left = true // the only name that was asked for
	} else {
		q.hear(s)
	}
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// hear takes a signal of the service, whose body is id, path, state.
func (q *queue) hear(s *godbus.Signal) {
	kind, ok := kinds[s.Name]
	if !ok || len(s.Body) != 3 {
		return
	}
	id, isText := s.Body[0].(string)
	state, isState := s.Body[2].(string)
	switch {
	case !isText || !isState || q.overrun:
	case len(q.heard) >= q.limit:
		q.heard, q.overrun = nil, true
	default:
		q.heard = append(q.heard, signal{kind, id, interfaces.SidecarState(state)})
	}
}

// empty takes everything out.
func (q *queue) empty() (heard []signal, overrun, left bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	heard, overrun, left = q.heard, q.overrun, q.left
	q.heard, q.overrun = nil, false
	return heard, overrun, left
}
