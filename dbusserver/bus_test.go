package dbusserver

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// memoryBus is a bus with one client, the server under test. The test is all
// others. It knows only as much of D-Bus as the server needs.
type memoryBus struct {
	t       *testing.T
	address string
	server  *Server

	// answer may answer what the server asks the bus; false leaves it to the
	// default, in which a sender's user is the number in its name after the point.
	answer func(c *client, m *godbus.Message) bool

	mu      sync.Mutex
	client  *client
	serial  uint32
	waiting map[uint32]chan *godbus.Message // replies, by the serial of the call
	signals []string                        // member and first argument, in order
	asked   map[string]int                  // what the server asked the bus, by member
	owned   chan struct{}                   // has an element each time the name is requested
}

// client is the server's connection.
type client struct {
	bus  *memoryBus
	conn net.Conn
	mu   sync.Mutex // of writing
}

// startBus makes a bus and a server on it, which ends with the test.
func startBus(t *testing.T, core Core, change func(*Config, *memoryBus)) *memoryBus {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // t.TempDir can be too long, and has commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "bus")
	b := &memoryBus{
		t: t, address: "unix:path=" + path, waiting: map[uint32]chan *godbus.Message{},
		asked: map[string]int{}, owned: make(chan struct{}, 100),
	}
	config := Config{
		Core: core, Address: b.address, Logger: slog.New(slog.DiscardHandler),
		Subscribe: func() Events { return &script{} },
	}
	if change != nil {
		change(&config, b)
	}
	b.server = New(config)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go b.accept(listener)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.server.Run(ctx); err != nil && err != errNameLost {
			t.Errorf("run: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		b.within(done, "the server ends")
		_ = listener.Close()
	})
	b.within(b.server.Ready(), "the server is on the bus")
	return b
}

// within waits, but not for ever; the machine may be busy.
func (b *memoryBus) within(done <-chan struct{}, what string) {
	b.t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		b.t.Errorf("not within a minute: %s", what)
	}
}

func (b *memoryBus) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		c := &client{bus: b, conn: conn}
		b.mu.Lock()
		b.client = c
		b.mu.Unlock()
		go c.serve()
	}
}

// disconnect ends the server's connection, as a restart of the bus does.
func (b *memoryBus) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.client.conn.Close()
}

// emit sends a signal to the server.
func (b *memoryBus) emit(sender, member string, body ...any) {
	b.current().send(&godbus.Message{Type: godbus.TypeSignal, Body: body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldSender:    godbus.MakeVariant(sender),
		godbus.FieldPath:      godbus.MakeVariant(bus.Path),
		godbus.FieldInterface: godbus.MakeVariant(bus.Name),
		godbus.FieldMember:    godbus.MakeVariant(member),
	}}, 7)
}

func (b *memoryBus) current() *client {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.client
}

// seen returns the signals that the server has sent.
func (b *memoryBus) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.signals...)
}

func (b *memoryBus) count(member string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[member]
}

// message is a call of a sender.
type message struct {
	sender, path, iface, member string
	flags                       godbus.Flags
	body                        []any
}

// send calls the server and returns where the answer will be.
func (b *memoryBus) send(m message) <-chan *godbus.Message {
	b.t.Helper()
	if m.path == "" {
		m.path = interfaces.ManagerPath
	}
	headers := map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath:   godbus.MakeVariant(godbus.ObjectPath(m.path)),
		godbus.FieldMember: godbus.MakeVariant(m.member),
	}
	if m.sender != "" {
		headers[godbus.FieldSender] = godbus.MakeVariant(m.sender)
	}
	if m.iface != "" {
		headers[godbus.FieldInterface] = godbus.MakeVariant(m.iface)
	}
	answer := make(chan *godbus.Message, 1)
	b.mu.Lock()
	b.serial++
	serial := b.serial
	b.waiting[serial] = answer
	c := b.client
	b.mu.Unlock()
	c.send(&godbus.Message{Type: godbus.TypeMethodCall, Flags: m.flags, Headers: headers, Body: m.body}, serial)
	return answer
}

// call calls the server and returns its answer: the body, or an error's name.
func (b *memoryBus) call(m message) (body []any, failure string) {
	b.t.Helper()
	return b.take(b.send(m))
}

func (b *memoryBus) take(answer <-chan *godbus.Message) (body []any, failure string) {
	b.t.Helper()
	select {
	case reply := <-answer:
		failure, _ = reply.Headers[godbus.FieldErrorName].Value().(string)
		return reply.Body, failure
	case <-time.After(time.Minute):
		b.t.Error("no answer within a minute")
		return nil, "none"
	}
}
