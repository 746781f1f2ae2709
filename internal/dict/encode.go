package dict

import (
	"math"
	"reflect"

	"github.com/godbus/dbus/v5"
)

// Encode writes a struct, or what a pointer to one points to. Of a field that is
// nil, or within a struct that is nil, there is no entry.
func Encode(v any) map[string]dbus.Variant {
	out := map[string]dbus.Variant{}
	value := reflect.Indirect(reflect.ValueOf(v))
	for _, f := range Fields(value.Type()) {
		if field, ok := f.in(value); ok {
			out[f.Key] = dbus.MakeVariantWithSignature(f.encode(field), dbus.ParseSignatureMust(f.Signature))
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

func (f Field) encode(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int64:
		return f.encodeInteger(v.Int())
	case reflect.Slice:
		if v.IsNil() { // godbus writes it, but its reader expects a value
			return reflect.MakeSlice(v.Type(), 0, 0).Interface()
		}
		return v.Interface()
	}
	return v.String()
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
