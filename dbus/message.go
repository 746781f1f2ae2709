package dbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// request is a method call as it came.
type request struct {
	sender    string
	serial    uint32
	path      string
	iface     string // "" if the caller left it out
	member    string
	signature string
	body      []any
	flags     godbus.Flags
}

var errMalformed = errors.New("malformed message")

// decode reads a call. The bus has checked its form, but a reader of ours must not
// depend on that.
func decode(h bus.Header, message []byte) (r *request, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("%w: %v", errMalformed, value)
		}
	}()
	m, err := godbus.DecodeMessage(bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errMalformed, err)
	}
	r = &request{sender: h.Sender, serial: h.Serial, flags: h.Flags, body: m.Body}
	path, _ := m.Headers[godbus.FieldPath].Value().(godbus.ObjectPath)
	r.path = string(path)
	r.iface, _ = m.Headers[godbus.FieldInterface].Value().(string)
	r.member, _ = m.Headers[godbus.FieldMember].Value().(string)
	if signature, ok := m.Headers[godbus.FieldSignature].Value().(godbus.Signature); ok {
		r.signature = signature.String()
	}
	if r.path == "" || r.member == "" {
		return nil, errMalformed
	}
	return r, nil
}

// replyTo makes the answer to the call that h is the header of.
func replyTo(h bus.Header, body ...any) *godbus.Message {
	return answer(godbus.TypeMethodReply, h, body)
}

// failureOf makes the error that answers the call that h is the header of.
func failureOf(h bus.Header, name string, body ...any) *godbus.Message {
	m := answer(godbus.TypeError, h, body)
	m.Headers[godbus.FieldErrorName] = godbus.MakeVariant(name)
	return m
}

func answer(kind godbus.Type, h bus.Header, body []any) *godbus.Message {
	m := &godbus.Message{
		Type:  kind,
		Flags: godbus.FlagNoReplyExpected,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: godbus.MakeVariant(h.Sender),
			godbus.FieldReplySerial: godbus.MakeVariant(h.Serial),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(body...))
	}
	return m
}

// sizeOf is how long a message is on the wire, or why it cannot be written.
func sizeOf(m *godbus.Message) (int, error) {
	var n counter
	err := m.EncodeTo(&n, binary.LittleEndian)
	return int(n), err
}

type counter int

// Write implements io.Writer.
func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
