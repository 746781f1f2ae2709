package dbusserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

// maxRefusals bounds the refusals that wait to be sent.
const maxRefusals = 256

// link is one connection to the bus.
type link struct {
	server   *Server
	conn     *godbus.Conn
	ctx      context.Context // of all calls
	cancel   context.CancelFunc
	dialled  chan struct{} // closed when conn is set
	lost     chan struct{} // closed when the name is not ours any more
	setLost  func()
	refusals chan *godbus.Message // sent by a goroutine of their own
	peers    peers

	mu     sync.Mutex
	ending bool // no more calls are taken
	calls  sync.WaitGroup
}

// dial connects to the bus, without a name under which to be called.
func (s *Server) dial(ctx context.Context) (*link, error) {
	l := &link{
		server:   s,
		dialled:  make(chan struct{}),
		lost:     make(chan struct{}),
		refusals: make(chan *godbus.Message, maxRefusals),
	}
	l.setLost = sync.OnceFunc(func() { close(l.lost) })
	l.ctx, l.cancel = context.WithCancel(context.Background())
	conn, err := bus.Dial(ctx, bus.Config{Address: s.config.Address, Accept: l.accept, Signals: l, Calls: l.receive})
	if err != nil {
		l.cancel()
		return nil, err
	}
	l.conn = conn
	close(l.dialled)
	context.AfterFunc(conn.Context(), l.cancel)
	go l.sendRefusals()
	return l, nil
}

// leaving matches the signals of names that leave the bus.
const leaving = "type='signal',sender='" + bus.Name + "',interface='" + bus.Name + "',member='NameOwnerChanged',arg2=''"

// own requests the name. From then on everybody can call.
func (l *link) own(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	object := l.conn.Object(bus.Name, bus.Path)
	if err := object.CallWithContext(ctx, bus.Name+".AddMatch", 0, leaving).Err; err != nil {
		return fmt.Errorf("watch for names that leave the bus: %w", err)
	}
	var reply godbus.RequestNameReply
	err := object.CallWithContext(ctx, bus.Name+".RequestName", 0, interfaces.BusName, godbus.NameFlagDoNotQueue).Store(&reply)
	if err != nil {
		return fmt.Errorf("request the name %s: %w", interfaces.BusName, err)
	}
	if reply != godbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("the name %s has another owner", interfaces.BusName)
	}
	return nil
}

// accept decides about every message before its body is read.
func (l *link) accept(h bus.Header) bool {
	switch {
	case h.Reply():
		return true
	case h.Type == godbus.TypeSignal:
		return h.Sender == bus.Name
	case h.Type != godbus.TypeMethodCall || h.Sender == "":
		return false
	}
	limit := l.server.config.Limits.MessageBytes
	if h.Body > int64(limit) {
		l.refuse(h, errorf("LimitsExceeded", "a call may have %d bytes of arguments, not %d", limit, h.Body))
		return false
	}
	return true
}

// receive admits or refuses a call.
func (l *link) receive(h bus.Header, message []byte) {
	c := incoming{h, message}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		l.refuse(h, &interfaces.OverloadedError{Reason: "the service is restarting, call again"})
		return
	}
	p, known, isNew, err := l.peers.take(l.ctx, c, func(known bool) error {
		return l.server.gate.enter(h.Sender, len(message), known)
	})
	switch {
	case err != nil:
		l.refuse(h, err)
	case known:
		l.start(p, c)
	case isNew:
		l.calls.Go(func() { l.startWaiting(h.Sender, p) })
	}
}

// startWaiting identifies a new peer, and starts the calls that it has made meanwhile.
func (l *link) startWaiting(sender string, p *peer) {
	select {
	case <-l.dialled:
	case <-l.ctx.Done(): // dialling failed
		return
	}
	caller, err := l.identify(sender, p)
	if err != nil {
		for _, c := range l.peers.leave(sender) { // the next call identifies it again
			l.drop(c, err)
		}
		return
	}
	for _, c := range l.peers.setCaller(p, caller) {
		l.start(p, c)
	}
}

// start carries out a call of an identified peer.
func (l *link) start(p *peer, c incoming) {
	if err := l.server.gate.enterUser(p.caller.UID); err != nil {
		l.drop(c, err)
		return
	}
	l.calls.Go(func() {
		defer l.server.gate.leave(c.header.Sender, len(c.message))
		defer l.server.gate.leaveUser(p.caller.UID)
		l.server.answerTo(p, c, func(reply *godbus.Message) {
			if c.header.Flags&godbus.FlagNoReplyExpected == 0 {
				l.conn.Send(reply, nil)
			}
		})
	})
}

// drop refuses a call that was admitted.
func (l *link) drop(c incoming, err error) {
	l.server.gate.leave(c.header.Sender, len(c.message))
	l.refuse(c.header, err)
}

// refuse answers a call with an error. If refusals are made faster than the bus takes them,
// the reader waits, and senders with it; a write that the bus does not take in time closes
// the connection.
func (l *link) refuse(h bus.Header, err error) {
	l.server.config.Rejected(cmp.Or(rejectionOf(err), service.RejectedByLimit))
	if h.Flags&godbus.FlagNoReplyExpected != 0 {
		return
	}
	name, body, _ := onWire(err)
	select {
	case l.refusals <- failureOf(h, name, body...):
	case <-l.ctx.Done():
	}
}

func (l *link) sendRefusals() {
	for {
		select {
		case m := <-l.refusals:
			l.conn.Send(m, nil)
		case <-l.conn.Context().Done():
			return
		}
	}
}

// DeliverSignal implements godbus.SignalHandler. It gets only the bus's signals, in order.
func (l *link) DeliverSignal(_, _ string, s *godbus.Signal) {
	var name, before, after string
	switch s.Name {
	case bus.Name + ".NameOwnerChanged":
		if godbus.Store(s.Body, &name, &before, &after) == nil && after == "" {
			for _, c := range l.peers.leave(name) {
				l.server.gate.leave(name, len(c.message))
			}
		}
	case bus.Name + ".NameLost":
		if godbus.Store(s.Body, &name) == nil && name == interfaces.BusName {
			l.setLost()
		}
	}
}

// end stops taking calls, waits for the calls under way while their answers can be sent, at
// most endTimeout, and closes the connection.
func (l *link) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	// From now on a call by name waits for the next daemon.
	_ = l.conn.Object(bus.Name, bus.Path).CallWithContext(ctx, bus.Name+".ReleaseName", 0, interfaces.BusName).Err
	done := make(chan struct{})
	go func() {
		l.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-l.conn.Context().Done():
	case <-ctx.Done():
	}
	l.cancel()
	_ = l.conn.Close()
}

var errNameLost = errors.New("the bus has taken the name " + interfaces.BusName + " from us")
