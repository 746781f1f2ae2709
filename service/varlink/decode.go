package varlink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
)

// maxFieldName cuts the name of an unknown field, which the caller chose.
const maxFieldName = 64

// decodeParameters sets the struct that out points to from a JSON object. More than
// encoding/json it refuses unknown, repeated and missing fields, and a null where the field
// is not a pointer. Names are case-sensitive. A field that is a pointer or has omitempty may be
// missing. The core checks the values of enumerations, as on every transport. The error is
// an *interfaces.InvalidParameterError, or jsontext's if data is not a JSON object.
func decodeParameters(data jsontext.Value, out any) error {
	object := reflect.ValueOf(out).Elem()
	fields := fieldsOf(object.Type())
	seen := make([]bool, len(fields))
	err := eachMember(data, func(name string, value jsontext.Value) error {
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		reason := ""
		switch {
		case at < 0:
			name, reason = cut(name), unknown(name, fields)
		case seen[at]:
			reason = "given twice"
		default:
			seen[at] = true
			reason = decodeValue(value, object.Field(at))
		}
		if reason != "" {
			return &interfaces.InvalidParameterError{Parameter: name, Reason: reason}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for at, f := range fields {
		if f.required && !seen[at] {
			return &interfaces.InvalidParameterError{Parameter: f.name, Reason: "missing"}
		}
	}
	return nil
}

// field is what a json tag says.
type field struct {
	name     string
	required bool
}

// fieldsOf returns the fields of a struct of which every field has a json tag.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, t.NumField())
	for i := range fields {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[i] = field{name, f.Type.Kind() != reflect.Pointer && !strings.Contains(options, "omitempty")}
	}
	return fields
}

// unknown says what would have been right instead of name.
func unknown(name string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
		if strings.EqualFold(f.name, name) {
			return "no such field; it is spelled " + f.name
		}
	}
	if len(names) == 0 {
		return "no such field; none is defined"
	}
	return "no such field; there are " + strings.Join(names, ", ")
}

// eachMember calls f for every member of the one JSON object that data is.
// Repeated names are f's business.
func eachMember(data jsontext.Value, f func(name string, value jsontext.Value) error) error {
	decoder := newDecoder(data)
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return errors.Join(errors.New("not an object"), err)
	}
	for decoder.PeekKind() == '"' {
		token, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return err
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	if _, err := decoder.ReadToken(); err != nil { // the closing brace
		return err
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

func newDecoder(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))
}

// decodeValue sets one value. It returns what is wrong with it.
func decodeValue(data jsontext.Value, out reflect.Value) (reason string) {
	switch {
	case out.Type() == reflect.TypeFor[jsontext.Value]():
		out.SetBytes(data.Clone())
		return ""
	case out.Kind() == reflect.Pointer:
		if data.Kind() == 'n' {
			return ""
		}
		out.Set(reflect.New(out.Type().Elem()))
		return decodeValue(data, out.Elem())
	case !strings.ContainsRune(types[out.Kind()].json, rune(data.Kind())):
		return "must be " + describe(out.Type())
	case out.Kind() == reflect.Slice:
		return decodeArray(data, out)
	}
	if err := json.Unmarshal(data, out.Addr().Interface()); err != nil {
		return "must be " + describe(out.Type())
	}
	return ""
}

func decodeArray(data jsontext.Value, out reflect.Value) (reason string) {
	decoder := newDecoder(data)
	if _, err := decoder.ReadToken(); err != nil {
		return err.Error()
	}
	out.Set(reflect.MakeSlice(out.Type(), 0, 0))
	for decoder.PeekKind() != ']' {
		value, err := decoder.ReadValue()
		if err != nil {
			return err.Error()
		}
		item := reflect.New(out.Type().Elem()).Elem()
		if reason := decodeValue(value, item); reason != "" {
			return fmt.Sprintf("element %d %s", out.Len(), reason)
		}
		out.Set(reflect.Append(out, item))
	}
	return ""
}

func cut(name string) string {
	if len(name) <= maxFieldName {
		return name
	}
	return strings.ToValidUTF8(name[:maxFieldName], "") + "…"
}

// types are the types of parameters: the kinds of JSON values (jsontext.Kind) that write
// them, and their names. Floats, maps and structs are no parameters of ours.
var types = map[reflect.Kind]struct{ json, name string }{
	reflect.String: {`"`, "a string"},
	reflect.Int64:  {"0", "an integer of 64 bits"},
	reflect.Bool:   {"tf", "true or false"},
	reflect.Slice:  {"[", "an array, each element "},
}

// describe says in words what a value of type t is.
func describe(t reflect.Type) string {
	switch name := types[t.Kind()].name; {
	case name == "":
		return fmt.Sprintf("a %s, which is no type of varlink", t)
	case t.Kind() == reflect.Slice:
		return name + describe(t.Elem())
	default:
		return name
	}
}
