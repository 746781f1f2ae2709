package dbusserver

import (
	"context"
	"sync"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

// identifyTimeout bounds the question to the bus which user a sender is.
const identifyTimeout = 10 * time.Second

// incoming is a call that is read and not decoded yet.
type incoming struct {
	header  bus.Header
	message []byte
}

// peers are the senders that have called, until they leave the bus. The bus never gives a
// unique name twice.
type peers struct {
	mu     sync.Mutex
	byName map[string]*peer
}

// peer is one sender.
type peer struct {
	ctx    context.Context // ends when it leaves the bus
	cancel context.CancelFunc

	// guarded by peers.mu until identified is true, constant afterwards
	identified bool
	caller     service.Caller
	waiting    []incoming // its calls until then
}

// take takes a call of a sender, if admit does. The call waits until the sender is
// identified; if isNew is true, whoever calls take has to see to that.
func (p *peers) take(ctx context.Context, c incoming, admit func(identified bool) error) (its *peer, identified, isNew bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	its, there := p.byName[c.header.Sender]
	if err := admit(there && its.identified); err != nil {
		return nil, false, false, err
	}
	if !there {
		its = &peer{}
		its.ctx, its.cancel = context.WithCancel(ctx)
		if p.byName == nil {
			p.byName = map[string]*peer{}
		}
		p.byName[c.header.Sender] = its
	}
	if !its.identified {
		its.waiting = append(its.waiting, c)
	}
	return its, its.identified, !there, nil
}

// setCaller notes who the peer is, and returns its calls that wait.
func (p *peers) setCaller(its *peer, caller service.Caller) []incoming {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := its.waiting
	its.identified, its.caller, its.waiting = true, caller, nil
	return waiting
}

// leave forgets a sender and cancels its calls. It returns the calls that wait.
func (p *peers) leave(sender string) []incoming {
	p.mu.Lock()
	defer p.mu.Unlock()
	its := p.byName[sender]
	if its == nil {
		return nil
	}
	its.cancel()
	delete(p.byName, sender)
	waiting := its.waiting
	its.waiting = nil
	return waiting
}

// identify asks the bus for a sender's user and process, which the kernel told the bus when
// the sender connected (GetConnectionCredentials in the D-Bus specification). The number of
// the process is for the journal only.
func (l *link) identify(sender string, p *peer) (caller service.Caller, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, identifyTimeout)
	defer cancel()
	var credentials map[string]godbus.Variant
	err = l.conn.Object(bus.Name, bus.Path).
		CallWithContext(ctx, bus.Name+".GetConnectionCredentials", 0, sender).Store(&credentials)
	uid, ok := credentials["UnixUserID"].Value().(uint32)
	if err != nil || !ok {
		return caller, errorf("AccessDenied", "the bus does not say who calls")
	}
	pid, _ := credentials["ProcessID"].Value().(uint32)
	return service.Caller{PID: int(pid), UID: uid, PIDFD: -1, Sender: sender}, nil
}
