package dict

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Encode encodes a struct or a pointer to one. A field that is nil, or in a struct that is
// nil, has no entry.
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

// EncodeOptions encodes the fields of OptionsOf for Options.
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

// in returns the field of a struct, through pointers; false if a pointer is nil.
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

// Text makes a valid D-Bus string: UTF-8 without NUL. The bus disconnects a sender of other
// strings, and the output of a side process can be anything.
func Text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// encodeInteger replaces a number that does not fit by the nearest that does.
func (f Field) encodeInteger(n int64) any {
	switch f.Signature {
	case "t":
		return uint64(max(n, 0))
	case "u":
		return uint32(min(max(n, 0), math.MaxUint32))
	}
	return int32(min(max(n, math.MinInt32), math.MaxInt32))
}

// FieldError says which entry of a dictionary is wrong, and what would be right.
type FieldError struct{ Key, Reason string }

func (e *FieldError) Error() string { return e.Key + ": " + e.Reason }

// Decode sets the fields of the struct that out points to from a dictionary of Encode. It
// ignores unknown entries, which a newer service may send.
func Decode(entries map[string]dbus.Variant, out any) error {
	value := reflect.ValueOf(out).Elem()
	for _, f := range Fields(value.Type()) {
		if entry, ok := entries[f.Key]; ok {
			if err := f.set(value, f.Key, entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// Options sets the fields of OptionsOf in the struct that out points to from the options of a
// call. An unknown option is an error, as is a value of another type. An integer may have any
// of D-Bus's integer types.
func Options(entries map[string]dbus.Variant, out any, without ...string) error {
	value := reflect.ValueOf(out).Elem()
	options := OptionsOf(value.Type(), without...)
	for key, entry := range entries {
		i := slices.IndexFunc(options, func(f Field) bool { return f.Option == key })
		if i < 0 {
			return &FieldError{cut(key), unknown(options)}
		}
		if err := options[i].set(value, key, entry); err != nil {
			return err
		}
	}
	return nil
}

func unknown(options []Field) string {
	if len(options) == 0 {
		return "no options are allowed here"
	}
	var names []string
	for _, f := range options {
		names = append(names, f.Option)
	}
	return "no such option; there are: " + strings.Join(names, ", ")
}

// set sets the field in a struct, through pointers.
func (f Field) set(value reflect.Value, key string, entry dbus.Variant) error {
	for _, i := range f.index {
		value = value.Field(i)
		if value.Kind() != reflect.Pointer {
			continue
		}
		if value.IsNil() {
			value.Set(reflect.New(value.Type().Elem()))
		}
		value = value.Elem()
	}
	if reason := f.setValue(value, entry); reason != "" {
		return &FieldError{key, reason}
	}
	return nil
}

// setValue returns the reason if the value is wrong.
func (f Field) setValue(out reflect.Value, entry dbus.Variant) string {
	if out.Kind() == reflect.Int64 {
		return f.setInteger(out, entry)
	}
	if got := entry.Signature().String(); got != f.Signature {
		return fmt.Sprintf("is of type %s, must be %s", cut(got), f.Signature)
	}
	if f.Signature == "b" || f.Signature == "s" {
		out.Set(reflect.ValueOf(entry.Value()).Convert(out.Type()))
		return ""
	}
	if err := dbus.Store([]any{entry.Value()}, out.Addr().Interface()); err != nil {
		return "must be " + f.Signature
	}
	return ""
}

func (f Field) setInteger(out reflect.Value, entry dbus.Variant) string {
	v := reflect.ValueOf(entry.Value())
	switch {
	case v.IsValid() && v.CanInt() && !strings.ContainsAny(entry.Signature().String(), "sogvh"):
		out.SetInt(v.Int())
	case v.IsValid() && v.CanUint() && entry.Signature().String() != "h":
		if v.Uint() > math.MaxInt64 {
			return fmt.Sprintf("%d is too large", v.Uint())
		}
		out.SetInt(int64(v.Uint()))
	default:
		return fmt.Sprintf("is of type %s, must be %s", cut(entry.Signature().String()), f.Signature)
	}
	return ""
}

// maxKey bounds text of the caller in an error.
const maxKey = 64

func cut(s string) string {
	if len(s) <= maxKey {
		return s
	}
	return strings.ToValidUTF8(s[:maxKey], "") + "…"
}
