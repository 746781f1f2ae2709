package bus

import (
	"encoding/binary"
	"errors"

	"github.com/godbus/dbus/v5"
)

// Call is a method call whose header has been taken apart and whose body has not.
type Call struct {
	Path, Interface, Member string // Interface is "" if the caller left it out
	Signature               string // of the body, as the caller says
	Order                   binary.ByteOrder
	Body                    []byte
}

var errMalformedCall = errors.New("malformed call")

// ParseCall takes the message of a method call apart. What is in the body is for
// somebody to read who knows what should be there: godbus takes hundreds of times
// the memory of a body that a stranger has thought out.
func ParseCall(message []byte) (Call, error) {
	if len(message) < 16 || dbus.Type(message[1]) != dbus.TypeMethodCall {
		return Call{}, errMalformedCall
	}
	order, ok := byteOrder(message[0])
	if !ok {
		return Call{}, errMalformedCall
	}
	length := int64(order.Uint32(message[12:]))
	begin := (16 + length + 7) &^ 7
	if begin+int64(order.Uint32(message[4:])) != int64(len(message)) {
		return Call{}, errMalformedCall
	}
	c := Call{Order: order, Body: message[begin:]}
	ok = eachField(message[16:16+length], order, func(field dbus.HeaderField, kind byte, text []byte) {
		switch {
		case field == dbus.FieldPath && kind == 'o':
			c.Path = string(text)
		case field == dbus.FieldInterface && kind == 's':
			c.Interface = string(text)
		case field == dbus.FieldMember && kind == 's':
			c.Member = string(text)
		case field == dbus.FieldSignature && kind == 'g':
			c.Signature = string(text)
		}
	})
	if !ok || c.Path == "" || c.Member == "" {
		return Call{}, errMalformedCall
	}
	return c, nil
}

// byteOrder is what the first byte of a message says.
func byteOrder(first byte) (binary.ByteOrder, bool) {
	switch first {
	case 'l':
		return binary.LittleEndian, true
	case 'B':
		return binary.BigEndian, true
	}
	return nil, false
}
