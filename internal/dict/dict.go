// Package dict encodes the structs of the contract as D-Bus dictionaries (a{sv}), and decodes
// them. A field's name and type on D-Bus follow from those in the varlink contract, so that
// the two transports cannot drift apart.
//
// A dictionary is flat: the fields of a struct within a struct stand beside its own. A field
// that is null on varlink is absent.
package dict

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Field is a field of a struct, or of a struct within it.
type Field struct {
	Name      string // on varlink, such as networkNamespace
	Key       string // on D-Bus, such as NetworkNamespace
	Option    string // on D-Bus, as an option of a call, such as network-namespace
	Signature string // D-Bus type of the value
	Optional  bool   // whether it may be absent

	index []int
}

// Fields lists the fields of the struct type t, with the fields of structs within it in their
// place.
func Fields(t reflect.Type) []Field { return fieldsBelow(t, nil, false) }

// OptionsOf lists the optional fields of the struct type t, except those whose varlink names
// are in without.
func OptionsOf(t reflect.Type, without ...string) []Field {
	return slices.DeleteFunc(Fields(t), func(f Field) bool { return !f.Optional || slices.Contains(without, f.Name) })
}

func fieldsBelow(t reflect.Type, index []int, optional bool) []Field {
	var all []Field
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		absent := optional || f.Type.Kind() == reflect.Pointer
		if inner := deref(f.Type); inner.Kind() == reflect.Struct {
			all = append(all, fieldsBelow(inner, at, absent)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, Field{
			Name: name, Key: strings.ToUpper(name[:1]) + name[1:], Option: Option(name),
			Signature: signatureOf(name, deref(f.Type)), Optional: absent, index: at,
		})
	}
	return all
}

// Option turns a varlink name into the name of an option: networkNamespace into
// network-namespace, timeoutUSec into timeout-usec.
func Option(name string) string {
	var b strings.Builder
	lower := false
	for _, c := range name {
		if unicode.IsUpper(c) && lower {
			b.WriteByte('-')
		}
		lower = unicode.IsLower(c)
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// signatureOf is the D-Bus type of a field. varlink has one integer type, D-Bus many; a field
// has the type of the similar properties of systemd.
func signatureOf(name string, t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "b"
	case reflect.Int64:
		return integerOf(name)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a(" + strings.Repeat("s", t.Elem().NumField()) + ")"
		}
		return "as"
	}
	return "s"
}

func integerOf(name string) string {
	switch {
	case strings.HasSuffix(name, "USec") || strings.HasSuffix(name, "Bytes"):
		return "t"
	case name == "processId" || name == "restarts" || name == "limit" || name == "tasks":
		return "u"
	}
	return "i" // exit codes, positions of arguments
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
