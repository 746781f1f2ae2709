package dbus

import (
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// maxQueued bounds the signals that wait for a slow reader.
const maxQueued = 1000

// signal is a signal of the manager.
type signal struct {
	kind  interfaces.EventKind
	id    string
	state interfaces.SidecarState
}

// queue has the signals that wait to be read. It never blocks the connection's reader.
type queue struct {
	limit  int
	filled chan struct{} // has an element if there is something to take

	mu      sync.Mutex
	signals []signal
	overrun bool // some were dropped
	left    bool // the service has left the bus
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, filled: make(chan struct{}, 1)}
}

// DeliverSignal implements godbus.SignalHandler. It gets signals of the bus and of the
// service only; see session.accept.
func (q *queue) DeliverSignal(_, _ string, s *godbus.Signal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.Sender == bus.Name {
		if s.Name != bus.Name+".NameOwnerChanged" {
			return
		}
		q.left = true // the match rule has only the service's name
	} else {
		q.add(s)
	}
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// add queues a signal of the service, with the body (id, path, state).
func (q *queue) add(s *godbus.Signal) {
	kind, ok := kinds[s.Name]
	if !ok || len(s.Body) != 3 {
		return
	}
	id, isText := s.Body[0].(string)
	state, isState := s.Body[2].(string)
	switch {
	case !isText || !isState || q.overrun:
	case len(q.signals) >= q.limit:
		q.signals, q.overrun = nil, true
	default:
		q.signals = append(q.signals, signal{kind, id, interfaces.SidecarState(state)})
	}
}

// take empties the queue.
func (q *queue) take() (signals []signal, overrun, left bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	signals, overrun, left = q.signals, q.overrun, q.left
	q.signals, q.overrun = nil, false
	return signals, overrun, left
}
