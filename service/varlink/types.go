package varlink

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// fieldSet is what a struct's json tags say.
type fieldSet struct {
	names    []string // in the struct's order
	required []string
	index    map[string]int
}

func fieldsOf(t reflect.Type) fieldSet {
	fields := fieldSet{index: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields.names = append(fields.names, name)
		fields.index[name] = i
		if f.Type.Kind() != reflect.Pointer && !strings.Contains(options, "omitempty") {
			fields.required = append(fields.required, name)
		}
	}
	return fields
}

// unknown says what would have been right instead of name.
func (f fieldSet) unknown(name string) string {
	if i := slices.IndexFunc(f.names, func(n string) bool { return strings.EqualFold(n, name) }); i >= 0 {
		return "no such field; it is spelled " + f.names[i]
	}
	if len(f.names) == 0 {
		return "no such field; there is none"
	}
	return "no such field; there are " + strings.Join(f.names, ", ")
}

// fits reports whether JSON writes a value of type t in this kind. Floats, maps
// and structs are no parameters of ours.
func fits(kind jsontext.Kind, t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return kind == '"'
	case reflect.Int64:
		return kind == '0'
	case reflect.Bool:
		return kind == 't' || kind == 'f'
	case reflect.Slice:
		return kind == '['
	}
	return false
}

// describe says in words what a value of type t is.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int64:
		return "an integer of 64 bits"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array, each element " + describe(t.Elem())
	}
	return fmt.Sprintf("a %s, which is no type of varlink", t)
}
