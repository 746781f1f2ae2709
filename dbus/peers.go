package dbus

import (
	"context"
	"sync"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

// identifyTimeout bounds the question to the bus who a sender is.
const identifyTimeout = 10 * time.Second

// peers are the senders that have called, until they leave the bus. The bus never
// gives a unique name twice.
type peers struct {
	mu     sync.Mutex
	byName map[string]*peer
}

// peer is one sender.
type peer struct {
	ctx    context.Context // ends when it leaves the bus
	cancel context.CancelFunc

	known  chan struct{}  // closed when it is known who it is
	caller service.Caller // valid then, if failed is nil
	failed error
}

// get returns the peer of a name, and whether it is new.
func (p *peers) get(ctx context.Context, sender string) (found *peer, isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.byName[sender]; known != nil {
		return known, false
	}
	if p.byName == nil {
		p.byName = map[string]*peer{}
	}
	found = &peer{known: make(chan struct{})}
	found.ctx, found.cancel = context.WithCancel(ctx)
	p.byName[sender] = found
	return found, true
}

// leave forgets a sender and cancels its calls.
func (p *peers) leave(sender string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone := p.byName[sender]; gone != nil {
		gone.cancel()
		delete(p.byName, sender)
	}
}

// forget forgets a sender. Its calls go on.
func (p *peers) forget(sender string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byName, sender)
}

// who waits until it is known who the peer is.
func (p *peer) who() (service.Caller, error) {
	select {
	case <-p.known:
		return p.caller, p.failed
	case <-p.ctx.Done():
		return service.Caller{}, p.ctx.Err()
	}
}

// identify asks the bus who a sender is, once. The bus has that from the kernel, as
// of the time at which the sender connected: see GetConnectionCredentials in the
// D-Bus specification. The number of the process is for the journal only.
func (l *link) identify(sender string, p *peer) {
	ctx, cancel := context.WithTimeout(p.ctx, identifyTimeout)
	defer cancel()
	var credentials map[string]godbus.Variant
	err := l.conn.Object(bus.Name, bus.Path).
		CallWithContext(ctx, bus.Name+".GetConnectionCredentials", 0, sender).Store(&credentials)
	uid, ok := credentials["UnixUserID"].Value().(uint32)
	if err != nil || !ok {
		p.failed = errorf("AccessDenied", "the bus does not say who calls")
		l.peers.forget(sender) // the next call asks again
	}
	pid, _ := credentials["ProcessID"].Value().(uint32)
	p.caller = service.Caller{PID: int(pid), UID: uid, PIDFD: -1, Sender: sender}
	close(p.known)
}
