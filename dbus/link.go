package dbus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/dict"
)

// maxRefusals is how many refusals wait to be sent; more are not answered. They go
// to senders that are over a limit.
const maxRefusals = 256

// link is one connection to the bus, from its dialling to its end.
type link struct {
	server   *Server
	conn     *godbus.Conn
	ctx      context.Context // of all calls
	cancel   context.CancelFunc
	dialled  chan struct{}        // closed when conn is set
	lost     chan struct{}        // closed when the name is not ours any more, under mu
	refusals chan *godbus.Message // sent by a goroutine of their own: the reader must not wait
	peers    peers

	mu     sync.Mutex
	ending bool // no more calls are taken
	calls  sync.WaitGroup
}

// dial connects to the bus. Nobody can call us by name yet.
func (s *Server) dial(ctx context.Context) (*link, error) {
	l := &link{
		server:   s,
		dialled:  make(chan struct{}),
		lost:     make(chan struct{}),
		refusals: make(chan *godbus.Message, maxRefusals),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	conn, err := bus.Dial(ctx, bus.Config{Address: s.address, Accept: l.accept, Signals: l, Calls: l.receive})
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

// gone matches the names that leave the bus. The bus drops the rest.
const gone = "type='signal',sender='" + bus.Name + "',interface='" + bus.Name + "',member='NameOwnerChanged',arg2=''"

// own takes the name. From then on everybody can call.
func (l *link) own(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	object := l.conn.Object(bus.Name, bus.Path)
	if err := object.CallWithContext(ctx, bus.Name+".AddMatch", 0, gone).Err; err != nil {
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

// accept decides about every message before it is read.
func (l *link) accept(h bus.Header) bool {
	switch {
	case h.Reply():
		return true
	case h.Type == godbus.TypeSignal:
		return h.Sender == bus.Name
	case h.Type != godbus.TypeMethodCall || h.Sender == "":
		return false
	case h.Body > int64(l.server.limits.MessageBytes):
		l.refuse(h, errorf("LimitsExceeded", "a call may have %d bytes of arguments, not %d", l.server.limits.MessageBytes, h.Body))
		return false
	}
	return true
}

// receive takes a call, or refuses it. It must not wait.
func (l *link) receive(h bus.Header, message []byte) {
	if err := l.server.gate.enter(h.Sender, len(message)); err != nil {
		l.refuse(h, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		l.server.gate.leave(h.Sender, len(message))
		l.refuse(h, &interfaces.OverloadedError{Reason: "the service is restarting, call again"})
		return
	}
	p, isNew := l.peers.get(l.ctx, h.Sender)
	l.calls.Go(func() {
		defer l.server.gate.leave(h.Sender, len(message))
		<-l.dialled
		if isNew {
			l.identify(h.Sender, p)
		}
		l.serve(p, h, message)
	})
}

// refuse answers a call that is not looked at.
func (l *link) refuse(h bus.Header, err error) {
	if h.Flags&godbus.FlagNoReplyExpected != 0 {
		return
	}
	name, body, _ := onWire(err)
	select {
	case l.refusals <- failureOf(h, name, body...):
	default:
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

// serve answers a call. Its context ends when the sender leaves the bus.
func (l *link) serve(p *peer, h bus.Header, message []byte) {
	reply := l.server.answerTo(p, h, message)
	if reply != nil && h.Flags&godbus.FlagNoReplyExpected == 0 {
		l.conn.Send(reply, nil)
	}
}

// answerTo makes the answer to a call; nil if nobody waits for it.
func (s *Server) answerTo(p *peer, h bus.Header, message []byte) *godbus.Message {
	r, err := decode(h, message)
	if err != nil {
		return failureOf(h, generic+"InvalidArgs", dict.Text(err.Error()))
	}
	caller, err := p.who()
	var body []any
	if err == nil {
		body, err = s.runAs(p, caller, r)
	}
	if p.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		name, text := s.failure(p.ctx, caller, r, err)
		return failureOf(h, name, text...)
	}
	reply, ok := s.fits(r, replyTo(h, body...))
	switch {
	case reply == nil:
		name, text, _ := onWire(errPanic)
		return failureOf(h, name, text...)
	case !ok:
		return failureOf(h, generic+"LimitsExceeded", "the answer is too long for the bus: select fewer sidecars, or use varlink")
	}
	return reply
}

// DeliverSignal implements the reader's side of signals. Only those of the bus come
// here, in their order.
func (l *link) DeliverSignal(_, _ string, s *godbus.Signal) {
	var name, before, after string
	switch s.Name {
	case bus.Name + ".NameOwnerChanged":
		if godbus.Store(s.Body, &name, &before, &after) == nil && after == "" {
			l.peers.leave(name)
		}
	case bus.Name + ".NameLost":
		if godbus.Store(s.Body, &name) == nil && name == interfaces.BusName {
			l.lose()
		}
	}
}

// lose says that the name is not ours any more.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.lost:
	default:
		close(l.lost)
	}
}

// end stops taking calls, waits for those under way, but not longer than ctx, and
// closes the connection.
func (l *link) end(ctx context.Context) {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	// Who calls by name from now on waits for the next daemon.
	_ = l.conn.Object(bus.Name, bus.Path).CallWithContext(ctx, bus.Name+".ReleaseName", 0, interfaces.BusName).Err
	done := make(chan struct{})
	go func() {
		l.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	l.cancel()
	_ = l.conn.Close()
}

var errNameLost = errors.New("the bus has taken the name " + interfaces.BusName + " from us")
