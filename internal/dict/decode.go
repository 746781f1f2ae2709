package dict

import (
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/godbus/dbus/v5"
)

// A FieldError says which entry of a dictionary is wrong, and what would be right.
type FieldError struct{ Key, Reason string }

func (e *FieldError) Error() string { return e.Key + ": " + e.Reason }

// Decode sets the fields of the struct that out points to from what Encode has
// made of one. Entries that it does not know are left out: a newer service may
// have more of them.
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

// Options sets fields of the struct that out points to from the options of a
// call. Only those are known that are optional and not in without, which holds
// varlink names; another one is an error, as is a value of another type. For an
// integer any of D-Bus's types will do that the value fits into.
func Options(entries map[string]dbus.Variant, out any, without ...string) error {
	value := reflect.ValueOf(out).Elem()
	known := map[string]Field{}
	for _, f := range OptionsOf(value.Type(), without...) {
		known[f.Option] = f
	}
	for key, entry := range entries {
		f, ok := known[key]
		if !ok {
			return &FieldError{cut(key), unknown(OptionsOf(value.Type(), without...))}
		}
		if err := f.set(value, key, entry); err != nil {
			return err
		}
	}
	return nil
}

// OptionsOf lists the fields that Options takes for the struct type.
func OptionsOf(t reflect.Type, without ...string) []Field {
	var options []Field
fields:
	for _, f := range Fields(t) {
		for _, name := range without {
			if f.Name == name {
				continue fields
			}
		}
		if f.Optional {
			options = append(options, f)
		}
	}
	return options
}

func unknown(options []Field) string {
	if len(options) == 0 {
		return "there are no options here"
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

// setValue returns what is wrong with the value, if anything is.
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

// maxKey cuts what the caller chose.
const maxKey = 64

func cut(s string) string {
	if len(s) <= maxKey {
		return s
	}
	return strings.ToValidUTF8(s[:maxKey], "") + "…"
}
