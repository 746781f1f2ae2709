package bus

import (
	"encoding/binary"
	"errors"

	"github.com/godbus/dbus/v5"
)

// Header is what the guard reads of a message before it decides about the rest.
type Header struct {
	Type   dbus.Type
	Flags  dbus.Flags
	Serial uint32 // the sender's number of the message
	Sender string // unique bus name, or the bus's own; "" if missing or malformed
	Body   int64  // length in bytes
}

// Reply reports whether the message answers a call. The bus passes on only answers to
// our own calls.
func (h Header) Reply() bool { return h.Type == dbus.TypeMethodReply || h.Type == dbus.TypeError }

// Call is a method call whose header is decoded and whose body is not.
type Call struct {
	Path, Interface, Member string // Interface is "" if the caller left it out
	Signature               string // of the body, as the caller says
	Order                   binary.ByteOrder
	Body                    []byte
}

var errMalformedCall = errors.New("malformed call")

// ParseCall decodes the header of a method call. The body is left to a reader that knows
// which types to expect: godbus needs hundreds of times the memory of a hostile body.
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

// byteOrder is the byte order that the first byte of a message names.
func byteOrder(first byte) (binary.ByteOrder, bool) {
	switch first {
	case 'l':
		return binary.LittleEndian, true
	case 'B':
		return binary.BigEndian, true
	}
	return nil, false
}

// senderOf finds the sender in the header fields of a message, an array of
// (byte, variant). The bus sets the sender; a client cannot.
func senderOf(fields []byte, order binary.ByteOrder) (sender string) {
	ok := eachField(fields, order, func(field dbus.HeaderField, kind byte, text []byte) {
		switch {
		case field == dbus.FieldSender && kind == 's':
			sender = string(text)
		case field == dbus.FieldSender:
			sender = ""
		}
	})
	if !ok {
		return ""
	}
	return sender
}

// eachField calls f with the code, the type and the text of each header field. It returns
// false if the fields are malformed.
func eachField(fields []byte, order binary.ByteOrder, f func(field dbus.HeaderField, kind byte, text []byte)) bool {
	for pos := 0; pos < len(fields); pos = (pos + 7) &^ 7 {
		// A field is its code and a variant, whose signature is one letter.
		if pos+4 > len(fields) || fields[pos+1] != 1 || fields[pos+3] != 0 {
			return false
		}
		text, end, ok := fieldValue(fields, pos+4, fields[pos+2], order)
		if !ok {
			return false
		}
		f(dbus.HeaderField(fields[pos]), fields[pos+2], text)
		pos = end
	}
	return true
}

// fieldValue reads a value of the type kind at pos: its text, if it has one, and its end.
func fieldValue(fields []byte, pos int, kind byte, order binary.ByteOrder) (text []byte, end int, ok bool) {
	length := 0
	switch kind {
	case 'g':
		if pos >= len(fields) {
			return nil, 0, false
		}
		length = int(fields[pos])
		pos++
	case 's', 'o', 'u':
		pos = (pos + 3) &^ 3
		if pos+4 > len(fields) {
			return nil, 0, false
		}
		length = int(order.Uint32(fields[pos:]))
		pos += 4
		if kind == 'u' {
			return nil, pos, true
		}
	default:
		return nil, 0, false
	}
	end = pos + length + 1 // a NUL follows
	if length > len(fields) || end > len(fields) {
		return nil, 0, false
	}
	return fields[pos : end-1], end, true
}
