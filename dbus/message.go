package dbus

import (
	"encoding/binary"
	"errors"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// request is a method call as it came. Its body is read by open, when it is known
// which types must be in it.
type request struct {
	bus.Call
	sender string
	body   []any
	flags  godbus.Flags
	done   func() // is called when the answer is sent
}

var errMalformed = errors.New("malformed message")

// decode reads the header of a call. The bus has checked its form, but a reader of
// ours must not depend on that.
func (r *request) decode(h bus.Header, message []byte) error {
	c, err := bus.ParseCall(message)
	if err != nil {
		return errMalformed
	}
	r.Call, r.sender, r.flags = c, h.Sender, h.Flags
	return nil
}

// open reads the body.
func (r *request) open() (err error) {
	r.body, err = readBody(r.Signature, r.Order, r.Body)
	return err
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
