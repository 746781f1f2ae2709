package dbusserver

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// written is the message of a call, in some byte order.
func written(t testing.TB, order binary.ByteOrder, member string, body ...any) []byte {
	t.Helper()
	m := &godbus.Message{
		Type: godbus.TypeMethodCall, Body: body,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldPath:      godbus.MakeVariant(godbus.ObjectPath(interfaces.ManagerPath)),
			godbus.FieldInterface: godbus.MakeVariant(interfaces.ManagerInterface),
			godbus.FieldMember:    godbus.MakeVariant(member),
			godbus.FieldSignature: godbus.MakeVariant(godbus.SignatureOf(body...)),
		},
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDBusBodiesAreReadAsGodbusReadsThem has every type that an option can have, and
// some that none has.
func TestDBusBodiesAreReadAsGodbusReadsThem(t *testing.T) {
	t.Parallel()
	every := options{
		"b": godbus.MakeVariant(true), "y": godbus.MakeVariant(byte(7)), "n": godbus.MakeVariant(int16(-7)),
		"q": godbus.MakeVariant(uint16(7)), "i": godbus.MakeVariant(int32(-7)), "u": godbus.MakeVariant(uint32(7)),
		"x": godbus.MakeVariant(int64(-7)), "t": godbus.MakeVariant(uint64(7)), "d": godbus.MakeVariant(0.5),
		"s": godbus.MakeVariant("é"), "o": godbus.MakeVariant(godbus.ObjectPath("/a")),
		"as": godbus.MakeVariant([]string{"", "abc"}), "none": godbus.MakeVariant([]string{}),
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, body := range [][]any{
			{"p", []string{"-a", "", "bcde"}, every},
			{"p", []string{}, options{}},
			{options{}},
			{"id", every},
			{"a", "b"},
			{""},
			{"a", "b", godbus.MakeVariant("c")},
		} {
			message := written(t, order, "Launch", body...)
			want, err := godbus.DecodeMessage(bytes.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			c, err := opened(0, message)
			if err != nil || c.decode() != nil {
				t.Fatalf("%v: %v, %v", body, err, c)
			}
			diff(t, "body", variantsOf(want.Body), variantsOf(c.arguments))
		}
		for _, foreign := range []any{godbus.MakeVariant(1), []options{{}}, struct{ A string }{}, []byte{1}, godbus.ParseSignatureMust("s")} {
			message := written(t, order, "List", options{"agent": godbus.MakeVariant(foreign), "profile": godbus.MakeVariant("p")})
			c, err := opened(0, message)
			if err != nil || c.decode() != nil {
				t.Fatalf("%T: %v", foreign, err)
			}
			entries, _ := c.arguments[0].(options)
			if got, want := entries["agent"].Signature(), godbus.SignatureOf(foreign); got != want && len(entries) > 1 {
				t.Errorf("%T: type %v, want %v", foreign, got, want)
			}
			if err := c.options(0, &interfaces.ListParameters{}); err == nil {
				t.Errorf("%T is taken", foreign)
			}
		}
	}
}

// variantsOf makes variants comparable.
func variantsOf(body []any) []any {
	var plain []any
	for _, v := range body {
		switch v := v.(type) {
		case options:
			entries := map[string]any{}
			for key, entry := range v {
				entries[key] = []any{entry.Signature().String(), entry.Value()}
			}
			plain = append(plain, entries)
		case godbus.Variant:
			plain = append(plain, v.Signature().String(), v.Value())
		default:
			plain = append(plain, v)
		}
	}
	return plain
}

// TestDBusHostileBodiesTakeLittleMemory has bodies of 256 KiB of which godbus makes
// up to 130 MB each.
func TestDBusHostileBodiesTakeLittleMemory(t *testing.T) {
	s := New(Config{Core: &fakeCore{}})
	const size = 255 << 10
	nothings := make([]string, size/8)
	for name, message := range map[string][]byte{
		"of another type":      written(t, binary.LittleEndian, "List", make([]deep, size/8)),
		"in a variant":         written(t, binary.LittleEndian, "List", options{"id": godbus.MakeVariant(make([]deep, size/8))}),
		"too many options":     written(t, binary.LittleEndian, "List", manyOptions(size/40)),
		"variants in variants": written(t, binary.LittleEndian, "List", options{"id": godbus.MakeVariant(manyVariants(size / 8))}),
		"empty strings":        written(t, binary.LittleEndian, "Stop", "id", options{"timeout-usec": godbus.MakeVariant(nothings)}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := opened(nobody, message)
		if err == nil {
			_, err = s.run(t.Context(), c)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > 20*uint64(len(message)) {
			t.Errorf("%s: %d kB for a call of %d, %v", name, took>>10, len(message)>>10, err)
		}
	}
}

const nobody = 65534

// deep is a value that takes 8 bytes, and a structure for each level.
type deep struct {
	A struct {
		A struct {
			A struct {
				A struct {
					A struct{ A struct{ A struct{ A byte } } }
				}
			}
		}
	}
}

func manyOptions(n int) options {
	many := options{}
	for i := range n {
		many[strings.Repeat("x", i%13)+string(rune('a'+i%26))+string(rune(0x4e00+i))] = godbus.MakeVariant(byte(1))
	}
	return many
}

func manyVariants(n int) []godbus.Variant {
	many := make([]godbus.Variant, n)
	for i := range many {
		many[i] = godbus.MakeVariant(byte(1))
	}
	return many
}
