package dbus

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
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

func (c *client) serve() {
	defer c.conn.Close()
	in := bufio.NewReader(c.conn)
	if !c.authenticate(in) {
		return
	}
	for {
		m, err := godbus.DecodeMessage(in)
		if err != nil {
			return
		}
		c.take(m)
	}
}

// take is what the bus does with a message of the server's.
func (c *client) take(m *godbus.Message) {
	member, _ := m.Headers[godbus.FieldMember].Value().(string)
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	switch m.Type {
	case godbus.TypeMethodCall:
		c.bus.asked[member]++
		go c.dispatch(member, m)
	case godbus.TypeSignal:
		about := member
		for _, v := range m.Body {
			switch v := v.(type) {
			case string:
				about += " " + v
			case godbus.ObjectPath:
				about += " " + filepath.Base(string(v))
			}
		}
		c.bus.signals = append(c.bus.signals, about)
	default:
		serial, _ := m.Headers[godbus.FieldReplySerial].Value().(uint32)
		if waiting := c.bus.waiting[serial]; waiting != nil {
			delete(c.bus.waiting, serial)
			waiting <- m
		}
	}
}

func (c *client) dispatch(member string, m *godbus.Message) {
	if c.bus.answer != nil && c.bus.answer(c, m) {
		return
	}
	switch member {
	case "Hello":
		c.reply(m, ":1.0")
	case "RequestName":
		c.reply(m, uint32(godbus.RequestNameReplyPrimaryOwner))
		c.bus.owned <- struct{}{}
	case "ReleaseName":
		c.reply(m, uint32(1))
	case "GetConnectionCredentials":
		sender, _ := m.Body[0].(string)
		c.reply(m, credentialsOf(sender))
	default:
		c.reply(m)
	}
}

// credentialsOf has the number after the point as the user.
func credentialsOf(sender string) map[string]godbus.Variant {
	uid := uint32(0)
	for _, digit := range strings.TrimPrefix(sender, ":1.") {
		uid = 10*uid + uint32(digit-'0')
	}
	return map[string]godbus.Variant{
		"UnixUserID": godbus.MakeVariant(uid), "ProcessID": godbus.MakeVariant(uint32(4711)),
	}
}

// authenticate is the server's side of EXTERNAL in the D-Bus specification.
func (c *client) authenticate(in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		answer := ""
		switch line := strings.Trim(line, "\x00\r\n"); {
		case line == "AUTH":
			answer = "REJECTED EXTERNAL\r\n"
		case line == "AUTH EXTERNAL":
			answer = "DATA\r\n"
		case strings.HasPrefix(line, "AUTH EXTERNAL"), strings.HasPrefix(line, "DATA"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		case line == "BEGIN":
			return true
		}
		if _, err := io.WriteString(c.conn, answer); err != nil {
			return false
		}
	}
}

func (c *client) reply(m *godbus.Message, body ...any) {
	c.send(&godbus.Message{Type: godbus.TypeMethodReply, Body: body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(m.Serial()),
		godbus.FieldSender:      godbus.MakeVariant(bus.Name),
	}}, 0)
}

func (c *client) fail(m *godbus.Message, name string) {
	c.send(&godbus.Message{Type: godbus.TypeError, Body: []any{"scripted"}, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(m.Serial()),
		godbus.FieldErrorName:   godbus.MakeVariant(name),
		godbus.FieldSender:      godbus.MakeVariant(bus.Name),
	}}, 0)
}

// send sends a message with a serial of the test's choice.
func (c *client) send(m *godbus.Message, serial uint32) {
	if len(m.Body) > 0 {
		m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(m.Body...))
	}
	var frame strings.Builder
	if err := m.EncodeTo(&frame, binary.LittleEndian); err != nil {
		c.bus.t.Error(err)
		return
	}
	data := []byte(frame.String())
	binary.LittleEndian.PutUint32(data[8:], serial)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(data)
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
