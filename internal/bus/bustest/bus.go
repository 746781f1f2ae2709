// Package bustest has a bus for tests, on which one service answers as the test says. It
// knows as much of D-Bus as a client needs to make calls.
package bustest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/bus"
)

// Service is the unique name of the service. Calls to the bus are answered in the bus's
// name.
const Service = ":1.1"

// Bus is a bus in a test. Use New.
type Bus struct {
	Address string

	answer func(*Call)

	mu    sync.Mutex
	peers []*peer
}

// Call is a method call that the service got.
type Call struct {
	*dbus.Message
	Member string
	Files  []*os.File // that came with it, or before; the first is the latest

	peer *peer
}

// peer is one connection to the bus.
type peer struct {
	conn  *net.UnixConn
	write sync.Mutex
	files []*os.File
}

// New starts a bus that lives as long as the test. answer is called for every call
// but those to the bus itself, each in a goroutine of its own, and may block.
func New(t testing.TB, answer func(*Call)) *Bus {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // t.TempDir can be too long, and has commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "bus")
	b := &Bus{Address: "unix:path=" + path, answer: answer}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close(); b.Disconnect() })
	go b.accept(listener)
	return b
}

// Disconnect ends all connections, as a restart of the bus does.
func (b *Bus) Disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		_ = p.conn.Close()
	}
	b.peers = nil
}

// Signal sends a signal to all connections.
func (b *Bus) Signal(sender string, path dbus.ObjectPath, iface, member string, body ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		p.send(&dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldSender:    dbus.MakeVariant(sender),
			dbus.FieldPath:      dbus.MakeVariant(path),
			dbus.FieldInterface: dbus.MakeVariant(iface),
			dbus.FieldMember:    dbus.MakeVariant(member),
		}})
	}
}

func (b *Bus) accept(listener *net.UnixListener) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		p := &peer{conn: conn}
		b.mu.Lock()
		b.peers = append(b.peers, p)
		b.mu.Unlock()
		go b.serve(p)
	}
}

func (b *Bus) serve(p *peer) {
	defer func() { _ = p.conn.Close() }()
	in := bufio.NewReader(p)
	if !Authenticate(in, p.conn) {
		return
	}
	for {
		message, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		call := &Call{Message: message, peer: p, Files: p.files}
		call.Member, _ = message.Headers[dbus.FieldMember].Value().(string)
		if call.Member == "Hello" {
			call.Reply(":1.7")
			continue
		}
		go b.answer(call)
	}
}

// Read implements io.Reader, and keeps the files that come along.
func (p *peer) Read(buffer []byte) (int, error) {
	oob := make([]byte, 1024)
	n, controls, _, _, err := p.conn.ReadMsgUnix(buffer, oob)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:controls])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			p.files = append([]*os.File{os.NewFile(uintptr(fd), "received")}, p.files...)
		}
	}
	return n, nil
}

// Authenticate is the bus's side of EXTERNAL in the D-Bus specification. It reports
// whether messages follow.
func Authenticate(in *bufio.Reader, out io.Writer) bool {
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
		case line == "NEGOTIATE_UNIX_FD":
			answer = "AGREE_UNIX_FD\r\n"
		case line == "BEGIN":
			return true
		}
		if _, err := io.WriteString(out, answer); err != nil {
			return false
		}
	}
}

// HangUp ends the caller's connection.
func (c *Call) HangUp() { _ = c.peer.conn.Close() }

// Reply answers the call.
func (c *Call) Reply(body ...any) {
	c.peer.send(&dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: c.headers()})
}

// Fail answers the call with an error.
func (c *Call) Fail(name string, body ...any) {
	headers := c.headers()
	headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	c.peer.send(&dbus.Message{Type: dbus.TypeError, Body: body, Headers: headers})
}

// headers are the headers of the answer.
func (c *Call) headers() map[dbus.HeaderField]dbus.Variant {
	from := Service
	if c.Headers[dbus.FieldDestination].Value() == bus.Name {
		from = bus.Name
	}
	return map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(c.Serial()),
		dbus.FieldSender:      dbus.MakeVariant(from),
	}
}

func (p *peer) send(m *dbus.Message) {
	p.write.Lock()
	defer p.write.Unlock()
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	_ = m.EncodeTo(p.conn, binary.LittleEndian)
}
