package dbusserver

import (
	"bufio"
	"encoding/binary"
	"path/filepath"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/bus/bustest"
)

func (c *client) serve() {
	defer c.conn.Close()
	in := bufio.NewReader(c.conn)
	if !bustest.Authenticate(in, c.conn) {
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
