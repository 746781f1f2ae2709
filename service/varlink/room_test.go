package varlink

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"tripleo.io/sidecar/service"
)

// TestVarlinkConnectionLimitEnds shows that a full listener still ends with its
// context and with the server, and goes on when somebody leaves.
func TestVarlinkConnectionLimitEnds(t *testing.T) {
	t.Parallel()
	l, err := Bind(filepath.Join(t.TempDir(), "s"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newServing(t, Limits{ConnectionsPerListener: 1})
	peer := service.Caller{Agent: "a", PIDFD: -1}
	if err := s.connections.enter(peer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s.room(ctx, socket{l}, "a") || ctx.Err() == nil {
		t.Error("there was room in a full listener")
	}
	go s.connections.leave(peer)
	if !s.room(t.Context(), socket{l}, "a") {
		t.Error("there was no room for the next one")
	}
	if err := s.connections.enter(peer); err != nil {
		t.Fatal(err)
	}
	defer s.connections.leave(peer)
	go s.end()
	if s.room(t.Context(), socket{l}, "a") {
		t.Error("there was room in a full listener when the server ended: who waits in the queue would be hung up on")
	}
}

// TestVarlinkFullAgentLosesItsIdleConnections fills an agent's places with
// connections that do nothing. Who comes then is served soon, in the place of the
// one that has been idle longest; connections with a call or a begun message, and
// those that were used a moment ago, stay.
func TestVarlinkFullAgentLosesItsIdleConnections(t *testing.T) {
	t.Parallel()
	limits := Limits{ConnectionsPerListener: 5, IdleTimeoutFull: 500 * time.Millisecond}
	s := newServing(t, limits)
	calling := s.dial(t)
	calling.send(method("Slow"))
	receive(t, s.turn)
	begun := s.dial(t)
	if _, err := begun.Write([]byte(echoCall)); err != nil { // without its NUL
		t.Fatal(err)
	}
	longest := s.dial(t)
	longest.alive()
	time.Sleep(limits.IdleTimeoutFull) // the service may be late to note when it answered
	second := s.dial(t)
	second.alive()
	time.Sleep(limits.IdleTimeoutFull)
	used := s.dial(t)
	used.alive()
	time.Sleep(limits.IdleTimeoutFull)
	for _, c := range []*rawClient{longest, second} {
		stays(t, c) // nobody waits
	}
	used.alive()
	s.dial(t).alive()
	longest.want("")
	s.dial(t).alive()
	second.want("")
	used.alive()
	if _, err := begun.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	begun.want(echoed)
	s.turn <- struct{}{}
	calling.want(`{"parameters":{}}`)
}

// stays fails the test if the connection is closed.
func stays(t *testing.T, c *rawClient) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := c.r.ReadByte()
	if e, ok := err.(net.Error); !ok || !e.Timeout() {
		t.Errorf("the connection did not stay: %v", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}
