package systemd

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// Tests call a bus bus.
const (
	busName = bus.Name
	busPath = bus.Path
)

// scriptedBus is a bus on which systemd answers as the test says. It knows only as
// much of D-Bus as a Conn needs.
type scriptedBus struct {
	t       *testing.T
	address string
	// answer is what systemd does with a call; the default is an empty reply.
	// It may block.
	answer func(p *peer, call *dbus.Message)

	mu    sync.Mutex
	calls []string // members, in order
	peers []*peer
}

const owner = ":1.1"

// peer is one connection to the scripted bus.
type peer struct {
	bus  *scriptedBus
	conn net.Conn
	mu   sync.Mutex // of writing
}

func newScriptedBus(t *testing.T, answer func(p *peer, call *dbus.Message)) *scriptedBus {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // t.TempDir can be too long, and has commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &scriptedBus{t: t, address: "unix:path=" + path, answer: answer}
	t.Cleanup(func() { _ = listener.Close(); b.disconnect() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p := &peer{bus: b, conn: conn}
			b.mu.Lock()
			b.peers = append(b.peers, p)
			b.mu.Unlock()
			go p.serve()
		}
	}()
	return b
}

// dial connects; change may alter the configuration. No call takes long here, but
// the machine may be busy.
func (b *scriptedBus) dial(change func(*Config)) *Conn {
	b.t.Helper()
	config := Config{Address: b.address, CallTimeout: time.Minute}
	if change != nil {
		change(&config)
	}
	c, err := Dial(context.Background(), config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialImpatient connects, and then gives calls less time. Dialling itself is bounded
// by CallTimeout too, and on a busy machine it can take that long.
func (b *scriptedBus) dialImpatient(timeout time.Duration) *Conn {
	b.t.Helper()
	c := b.dial(nil)
	c.config.CallTimeout = timeout // nobody reads it yet
	return c
}

// disconnect ends all connections, as a restart of the bus does.
func (b *scriptedBus) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		_ = p.conn.Close()
	}
	b.peers = nil
}

// count is how often a method was called.
func (b *scriptedBus) count(member string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, call := range b.calls {
		if call == member {
			n++
		}
	}
	return n
}

// signal sends a signal to all connections.
func (b *scriptedBus) signal(sender string, path dbus.ObjectPath, iface, member string, body ...any) {
	b.mu.Lock()
	peers := b.peers
	b.mu.Unlock()
	for _, p := range peers {
		p.send(&dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldSender:    dbus.MakeVariant(sender),
			dbus.FieldPath:      dbus.MakeVariant(path),
			dbus.FieldInterface: dbus.MakeVariant(iface),
			dbus.FieldMember:    dbus.MakeVariant(member),
		}})
	}
}

func (b *scriptedBus) propertiesChanged(sender, unit string) {
	b.signal(sender, unitPath(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]dbus.Variant{}, []string{})
}

func (p *peer) serve() {
	defer p.conn.Close()
	in := bufio.NewReader(p.conn)
	if !p.authenticate(in) {
		return
	}
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		member, _ := call.Headers[dbus.FieldMember].Value().(string)
		p.bus.mu.Lock()
		p.bus.calls = append(p.bus.calls, member)
		p.bus.mu.Unlock()
		go p.dispatch(member, call)
	}
}

func (p *peer) dispatch(member string, call *dbus.Message) {
	switch {
	case member == "Hello":
		p.reply(call, ":1.7")
	case member == "GetNameOwner":
		p.reply(call, owner)
	case member == "AddMatch" || member == "Subscribe" || p.bus.answer == nil:
		p.reply(call)
	default:
		p.bus.answer(p, call)
	}
}

// authenticate is the server's side of EXTERNAL in the D-Bus specification.
func (p *peer) authenticate(in *bufio.Reader) bool {
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
		if _, err := io.WriteString(p.conn, answer); err != nil {
			return false
		}
	}
}

func (p *peer) reply(call *dbus.Message, body ...any) {
	p.send(&dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
		dbus.FieldSender:      dbus.MakeVariant(owner),
	}})
}

func (p *peer) fail(call *dbus.Message, name string) {
	p.send(&dbus.Message{Type: dbus.TypeError, Body: []any{"scripted"}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
		dbus.FieldErrorName:   dbus.MakeVariant(name),
		dbus.FieldSender:      dbus.MakeVariant(owner),
	}})
}

func (p *peer) send(m *dbus.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	_ = m.EncodeTo(p.conn, binary.LittleEndian)
}

// scriptedUnit answers what systemd does of one unit, by member; what is not there
// is answered as for a running unit.
type scriptedUnit map[string]func(p *peer, call *dbus.Message)

func (u scriptedUnit) answer(p *peer, call *dbus.Message) {
	member, _ := call.Headers[dbus.FieldMember].Value().(string)
	if f := u[member]; f != nil {
		f(p, call)
		return
	}
	switch member {
	case "Get":
		p.reply(call, dbus.MakeVariant("257.1"))
	case "GetAll":
		p.reply(call, properties("active", 0))
	case "StartTransientUnit", "StopUnit":
		p.reply(call, dbus.ObjectPath(jobPrefix+"5"))
	case "ListUnitsByPatterns":
		p.reply(call, []listed{listedUnit("a.service", "active", 0)})
	default:
		p.reply(call)
	}
}

func properties(state string, job uint32) map[string]dbus.Variant {
	return map[string]dbus.Variant{
		"LoadState":   dbus.MakeVariant("loaded"),
		"ActiveState": dbus.MakeVariant(state),
		"SubState":    dbus.MakeVariant("running"),
		"Result":      dbus.MakeVariant("success"),
		"Job":         dbus.MakeVariant(jobPair{job, "/"}),
		"Environment": dbus.MakeVariant([]string{"A=b"}),
	}
}

func with(p map[string]dbus.Variant, name string, value any) map[string]dbus.Variant {
	p[name] = dbus.MakeVariant(value)
	return p
}

type jobPair struct {
	ID   uint32
	Path dbus.ObjectPath
}

// listed is a row of ListUnitsByPatterns.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	Job                                             uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func listedUnit(name, state string, job uint32) listed {
	return listed{name, "", "loaded", state, "running", "", unitPath(name), job, "", "/"}
}
