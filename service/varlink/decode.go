package varlink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
)

// maxFieldName cuts the name of an unknown field, which the caller chose.
const maxFieldName = 64

// fieldError says what is wrong with a field of an object.
type fieldError struct{ field, reason string }

func (e *fieldError) Error() string { return e.field + ": " + e.reason }

// decodeParameters sets the struct that out points to, or returns an
// *interfaces.InvalidParameterError.
func decodeParameters(data jsontext.Value, out any) error {
	err := decodeObject(data, reflect.ValueOf(out).Elem())
	var field *fieldError
	if errors.As(err, &field) {
		return &interfaces.InvalidParameterError{Parameter: field.field, Reason: field.reason}
	}
	return err
}

// decodeObject sets a struct from a JSON object. More than encoding/json it
// refuses unknown, repeated and missing fields, and a null where the field is no
// pointer. Names are case-sensitive. A field that is a pointer or has omitempty may
// be missing. Which values an enumeration has is the core's to say, as on every
// transport. Syntax errors are those of jsontext.
func decodeObject(data jsontext.Value, out reflect.Value) error {
	fields := fieldsOf(out.Type())
	seen := map[string]bool{}
	err := eachMember(data, func(name string, value jsontext.Value) error {
		at, known := fields.index[name]
		switch {
		case !known:
			return &fieldError{cut(name), fields.unknown(name)}
		case seen[name]:
			return &fieldError{name, "given twice"}
		}
		seen[name] = true
		if reason := decodeValue(value, out.Field(at)); reason != "" {
			return &fieldError{name, reason}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range fields.required {
		if !seen[name] {
			return &fieldError{name, "missing"}
		}
	}
	return nil
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
	case !fits(data.Kind(), out.Type()):
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
