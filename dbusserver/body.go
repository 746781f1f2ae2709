package dbusserver

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"

	godbus "github.com/godbus/dbus/v5"
)

// readBody decodes a body with the signature of one of our methods: strings, lists of
// strings, dictionaries of options, and at the end perhaps a variant.
//
// It needs little more memory than the body. godbus, which decodes every type, makes a
// hundred megabytes of some bodies of 256 KiB, the longest that a caller may send.
func readBody(signature string, order binary.ByteOrder, body []byte) ([]any, error) {
	b := bodyReader{order: order, data: body}
	var values []any
	for signature != "" && !b.bad {
		kind := signature[:1]
		for _, longer := range []string{"as", "a{sv}"} {
			if strings.HasPrefix(signature, longer) {
				kind = longer
			}
		}
		signature = signature[len(kind):]
		switch kind {
		case "a{sv}":
			values = append(values, b.options())
		case "v":
			values = append(values, b.variant())
		default:
			values = append(values, b.value(kind))
		}
	}
	if b.bad || !b.foreign && b.pos != len(b.data) {
		return nil, errMalformed
	}
	return values, nil
}

// bodyReader reads values one after the other. After a malformed one, values mean nothing.
type bodyReader struct {
	order binary.ByteOrder
	data  []byte
	pos   int
	bad   bool // the body is malformed
	// foreign says that a variant has a type that no option has. The call is refused for
	// it, so the rest of the body is not read.
	foreign bool
}

// take returns the next n bytes, aligned to align.
func (b *bodyReader) take(align, n int) []byte {
	from := (b.pos + align - 1) / align * align
	if b.bad || n < 0 || n > len(b.data) || from > len(b.data)-n {
		b.bad = true
		return nil
	}
	b.pos = from + n
	return b.data[from:b.pos]
}

// number reads an unsigned integer of size bytes, 0 if the body ends before.
func (b *bodyReader) number(size int) uint64 {
	raw := b.take(size, size)
	switch len(raw) {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(b.order.Uint16(raw))
	case 4:
		return uint64(b.order.Uint32(raw))
	case 8:
		return b.order.Uint64(raw)
	}
	return 0
}

// text reads a string whose length is a number of size bytes.
func (b *bodyReader) text(size int) string {
	raw := b.take(1, int(b.number(size)))
	if end := b.take(1, 1); b.bad || end[0] != 0 || !utf8.Valid(raw) {
		b.bad = true
		return ""
	}
	return string(raw)
}

// array calls read until the array is over.
func (b *bodyReader) array(align int, read func()) {
	length := int(b.number(4))
	b.take(align, 0)
	end := b.pos + length
	for !b.bad && !b.foreign && b.pos < end {
		read()
	}
	b.bad = b.bad || !b.foreign && b.pos != end
}

func (b *bodyReader) options() map[string]godbus.Variant {
	options := map[string]godbus.Variant{}
	b.array(8, func() {
		b.take(8, 0)
		key := b.text(4)
		options[key] = b.variant()
	})
	return options
}

// variant reads a variant; of a foreign type without its value.
func (b *bodyReader) variant() godbus.Variant {
	signature, err := godbus.ParseSignature(b.text(1))
	if err != nil {
		b.bad = true
		return godbus.Variant{}
	}
	return godbus.MakeVariantWithSignature(b.value(signature.String()), signature)
}

// value reads a value into the Go type that godbus has for it.
func (b *bodyReader) value(kind string) any {
	switch kind {
	case "s":
		return b.text(4)
	case "o":
		return godbus.ObjectPath(b.text(4))
	case "y":
		return byte(b.number(1))
	case "b":
		return b.number(4) != 0
	case "as":
		texts := []string{}
		b.array(4, func() { texts = append(texts, b.text(4)) })
		return texts
	}
	return b.numeric(kind)
}

func (b *bodyReader) numeric(kind string) any {
	switch kind {
	case "n":
		return int16(b.number(2))
	case "q":
		return uint16(b.number(2))
	case "i":
		return int32(b.number(4))
	case "u":
		return uint32(b.number(4))
	case "x":
		return int64(b.number(8))
	case "t":
		return b.number(8)
	case "d":
		return math.Float64frombits(b.number(8))
	}
	b.foreign = true
	return nil
}
