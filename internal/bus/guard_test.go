package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// message encodes a message of the sender.
func message(t testing.TB, order binary.ByteOrder, kind dbus.Type, sender, member string, body ...any) []byte {
	t.Helper()
	m := &dbus.Message{Type: kind, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:        dbus.MakeVariant(Path),
		dbus.FieldInterface:   dbus.MakeVariant("org.example.Interface"),
		dbus.FieldMember:      dbus.MakeVariant(member),
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
		dbus.FieldErrorName:   dbus.MakeVariant("org.example.Error"),
	}}
	if sender != "" {
		m.Headers[dbus.FieldSender] = dbus.MakeVariant(sender)
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readOnly is a connection that only gives bytes.
type readOnly struct {
	net.Conn
	io.Reader
}

func (r readOnly) Read(p []byte) (int, error) { return r.Reader.Read(p) }

const owner = ":1.1"

// guarded returns a guard that reads data and lets through replies and the owner's
// signals.
func guarded(data []byte) *guard {
	g := newGuard(readOnly{Reader: bytes.NewReader(data)}, Config{Timeout: time.Second, Accept: func(h Header) bool {
		return h.Reply() || h.Type == dbus.TypeSignal && h.Sender == owner
	}})
	g.framed = true
	return g
}

func TestGuardPassesRepliesAndTrustedSignals(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		var stream []byte
		for _, m := range []struct {
			kind           dbus.Type
			sender, member string
		}{
			{dbus.TypeSignal, ":1.66", "Forged"},
			{dbus.TypeSignal, owner, "Trusted"},
			{dbus.TypeSignal, "", "Nobody"},
			{dbus.TypeMethodCall, owner, "Call"},
			{dbus.TypeMethodReply, ":1.66", "Reply"},
			{dbus.TypeError, "", "Error"},
			{dbus.TypeSignal, owner, "Last"},
		} {
			stream = append(stream, message(t, order, m.kind, m.sender, m.member, "body", uint32(7))...)
			stream = append(stream, message(t, order, m.kind, m.sender, m.member)...)
		}
		g := guarded(stream)
		var got []string
		for {
			m, err := dbus.DecodeMessage(g)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			member, _ := m.Headers[dbus.FieldMember].Value().(string)
			got = append(got, member)
		}
		want := []string{"Trusted", "Trusted", "Reply", "Reply", "Error", "Error", "Last", "Last"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", order, d)
		}
	}
}

func TestGuardSkipsWhatIsTooLong(t *testing.T) {
	t.Parallel()
	reply := func(member string) []byte {
		return message(t, binary.LittleEndian, dbus.TypeMethodReply, owner, member)
	}
	body := reply("LongBody")
	binary.LittleEndian.PutUint32(body[4:], maxBody+1)
	header := reply("LongHeader")
	binary.LittleEndian.PutUint32(header[12:], maxHeader+8)
	stream := slices.Concat(
		body, make([]byte, maxBody+1),
		header[:16], make([]byte, maxHeader+8),
		reply("Short"),
	)
	m, err := dbus.DecodeMessage(guarded(stream))
	if err != nil {
		t.Fatal(err)
	}
	if member := m.Headers[dbus.FieldMember].Value(); member != "Short" {
		t.Errorf("got %v", member)
	}
}

func TestGuardEndsWritesThatNobodyReads(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	g := newGuard(ours, Config{Timeout: 10 * time.Millisecond, Accept: func(Header) bool { return true }})
	if _, err := g.Write([]byte("text")); err == nil {
		t.Error("a write to nobody succeeded")
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// FuzzGuard feeds bytes as they come: nothing may panic, and no signal of a
// stranger may come through whole.
func FuzzGuard(f *testing.F) {
	f.Add(message(f, binary.LittleEndian, dbus.TypeSignal, ":1.66", "Forged", "body"))
	f.Add(message(f, binary.BigEndian, dbus.TypeSignal, owner, "Trusted", "body"))
	f.Add(append(message(f, binary.LittleEndian, dbus.TypeMethodReply, owner, "Reply"), 'x'))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := guarded(data)
		for range 100 {
			m, err := dbus.DecodeMessage(g)
			var invalid dbus.InvalidMessageError
			if errors.As(err, &invalid) {
				continue
			}
			if err != nil {
				return
			}
			if sender := m.Headers[dbus.FieldSender].Value(); m.Type == dbus.TypeSignal && sender != owner {
				t.Errorf("a signal of %v came through", sender)
			}
		}
	})
}

// TestGuardDeliversCalls has calls among other messages: Calls gets them whole and in order,
// and godbus reads the others.
func TestGuardDeliversCalls(t *testing.T) {
	t.Parallel()
	call := message(t, binary.BigEndian, dbus.TypeMethodCall, ":1.5", "Call", "body", uint32(7))
	long := message(t, binary.LittleEndian, dbus.TypeMethodCall, ":1.5", "Long", strings.Repeat("x", 2000))
	empty := message(t, binary.LittleEndian, dbus.TypeMethodCall, ":1.6", "Empty")
	reply := message(t, binary.LittleEndian, dbus.TypeMethodReply, ":1.66", "Reply")
	var headers []Header
	var got [][]byte
	g := newGuard(readOnly{Reader: bytes.NewReader(slices.Concat(call, long, reply, empty, reply))}, Config{
		Accept: func(h Header) bool { return h.Body < 1000 },
		Calls: func(h Header, message []byte) {
			headers = append(headers, h)
			got = append(got, message)
		},
	})
	g.framed = true
	rest, err := io.ReadAll(g)
	if err != nil || !bytes.Equal(rest, slices.Concat(reply, reply)) {
		t.Errorf("godbus got %d bytes, %v", len(rest), err)
	}
	if d := cmp.Diff([][]byte{call, empty}, got); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	want := []Header{
		{Type: dbus.TypeMethodCall, Sender: ":1.5", Body: 16},
		{Type: dbus.TypeMethodCall, Sender: ":1.6"},
	}
	if d := cmp.Diff(want, headers); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
}
