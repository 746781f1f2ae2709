package bus

import (
	"encoding/binary"

	"github.com/godbus/dbus/v5"
)

// Header is what is known of a message before it is read.
type Header struct {
	Type   dbus.Type
	Flags  dbus.Flags
	Serial uint32 // by which its sender knows it
	Sender string // unique bus name, or that of the bus; "" if there is none or the header is malformed
	Body   int64  // length in bytes
}

// Reply reports whether the message answers a call. The bus passes on only what
// answers one of ours.
func (h Header) Reply() bool { return h.Type == dbus.TypeMethodReply || h.Type == dbus.TypeError }

// senderOf finds the sender in the header fields of a message, an array of
// (byte, variant). The bus sets it; a client cannot. "" if there is none or the
// fields are malformed.
func senderOf(fields []byte, order binary.ByteOrder) string {
	var sender string
	ok := eachField(fields, order, func(field dbus.HeaderField, kind byte, text []byte) {
		if field != dbus.FieldSender {
			return
		}
		sender = ""
		if kind == 's' {
			sender = string(text)
		}
	})
	if !ok {
		return ""
	}
	return sender
}

// eachField takes header fields apart: their codes, types and texts. False if they
// are malformed.
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

// fieldValue reads a value of the type kind at pos: its text, if it has one, and
// where it ends.
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
