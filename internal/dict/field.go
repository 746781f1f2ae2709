package dict

import (
	"reflect"
	"strings"
	"unicode"
)

// Field is a field of a struct, or of a struct within it.
type Field struct {
	Name      string // on varlink, such as networkNamespace
	Key       string // on D-Bus, such as NetworkNamespace
	Option    string // on D-Bus, where it is an option of a call, such as network-namespace
	Signature string // of its value on D-Bus
	Optional  bool   // it may be absent

	index []int
}

// Fields lists the fields of the struct type t, those of structs within it in
// their place.
func Fields(t reflect.Type) []Field {
	return fieldsBelow(t, nil, false)
}

func fieldsBelow(t reflect.Type, index []int, optional bool) []Field {
	var all []Field
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int{}, index...), i)
		absent := optional || f.Type.Kind() == reflect.Pointer
		if inner := deref(f.Type); inner.Kind() == reflect.Struct {
			all = append(all, fieldsBelow(inner, at, absent)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, Field{
			Name: name, Key: keyOf(name), Option: Option(name),
			Signature: signatureOf(name, deref(f.Type)), Optional: absent, index: at,
		})
	}
	return all
}

// Option writes a varlink name as that of an option: networkNamespace is
// network-namespace, timeoutUSec is timeout-usec.
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

func keyOf(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// signatureOf is the D-Bus type of a field. varlink has one type of integers,
// D-Bus many; each field has the one that its like has in systemd's interfaces.
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
	case strings.HasSuffix(name, "USec"):
		return "t"
	case name == "processId" || name == "restarts" || name == "limit":
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
