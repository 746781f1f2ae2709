package dict

import (
	"math"
	"reflect"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Encode writes a struct, or what a pointer to one points to. Of a field that is
// nil, or within a struct that is nil, there is no entry.
func Encode(v any) map[string]dbus.Variant {
	out := map[string]dbus.Variant{}
	value := reflect.Indirect(reflect.ValueOf(v))
	for _, f := range Fields(value.Type()) {
		if field, ok := f.in(value); ok {
			out[f.Key] = f.variant(field)
		}
	}
	return out
}

// EncodeOptions writes the optional fields of a struct as Options reads them.
// Those whose varlink names are in without are left out.
func EncodeOptions(v any, without ...string) map[string]dbus.Variant {
	out := map[string]dbus.Variant{}
	value := reflect.Indirect(reflect.ValueOf(v))
	for _, f := range OptionsOf(value.Type(), without...) {
		if field, ok := f.in(value); ok {
			out[f.Option] = f.variant(field)
		}
	}
	return out
}

// in finds the field in a struct, through pointers; false if there is none.
func (f Field) in(value reflect.Value) (reflect.Value, bool) {
	for _, i := range f.index {
		value = value.Field(i)
		if value.Kind() != reflect.Pointer {
			continue
		}
		if value.IsNil() {
			return value, false
		}
		value = value.Elem()
	}
	return value, true
}

func (f Field) variant(v reflect.Value) dbus.Variant {
	return dbus.MakeVariantWithSignature(f.encode(v), dbus.ParseSignatureMust(f.Signature))
}

func (f Field) encode(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int64:
		return f.encodeInteger(v.Int())
	case reflect.Slice:
		return encodeSlice(v)
	}
	return Text(v.String())
}

func encodeSlice(v reflect.Value) any {
	texts, ok := v.Interface().([]string)
	if !ok {
		return v.Interface()
	}
	clean := []string{}
	for _, text := range texts {
		clean = append(clean, Text(text))
	}
	return clean
}

// Text makes a string that D-Bus takes: UTF-8 without NUL. The bus hangs up on who
// sends another one, and what a side process has written can be anything.
func Text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// encodeInteger keeps what does not fit at the bound, rather than to make another
// number of it. Nothing that we know comes near.
func (f Field) encodeInteger(n int64) any {
	switch f.Signature {
	case "t":
		return uint64(max(n, 0))
	case "u":
		return uint32(min(max(n, 0), math.MaxUint32))
	}
	return int32(min(max(n, math.MinInt32), math.MaxInt32))
}
