package policy

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// decode reads a TOML document into the struct that into points to, strictly:
// an unknown key, or one in other letters, is a problem. It returns whether the
// values are worth looking at.
func decode(r *report, document []byte, into any) bool {
	var tree map[string]any
	if err := toml.Unmarshal(document, &tree); err != nil {
		r.decodeError(err)
		return false
	}
	keys := positions(document)
	r.lines = make(map[string]int, len(keys))
	for _, p := range keys {
		if _, ok := r.lines[p.key]; !ok {
			r.lines[p.key] = p.line
		}
	}
	unknown := r.unknownKeys(keys, keysOf(reflect.TypeOf(into).Elem(), ""))
	decoder := toml.NewDecoder(bytes.NewReader(document))
	if !unknown {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(into); err != nil {
		r.decodeError(err)
		return false
	}
	return true
}

// unknownKeys reports every key that is not among known, and whether there was
// one. What lies inside an unknown key is not reported again.
func (r *report) unknownKeys(keys []position, known []string) bool {
	unknown := make(map[string]bool)
	for _, p := range keys {
		parent := parentKey(p.key)
		if slices.Contains(known, withoutIndex(p.key)) || unknown[p.key] {
			continue
		}
		unknown[p.key] = true
		if !unknown[parent] {
			r.errorf(p.key, "unknown key%s", didYouMean(p.key, known))
		}
	}
	return len(unknown) > 0
}

// withoutIndex returns "a" for "a[3]".
func withoutIndex(key string) string {
	if !strings.HasSuffix(key, "]") {
		return key
	}
	return parentKey(key)
}

// decodeError reports an error of the TOML library with its line.
func (r *report) decodeError(err error) {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		r.errorf("", "%s", strings.TrimPrefix(err.Error(), "toml: "))
		return
	}
	line, _ := at.Position()
	key := strings.Join(at.Key(), ".")
	if key == "" {
		key = "TOML"
	}
	at1 := report{file: r.file, lines: map[string]int{key: line}}
	at1.errorf(key, "%s", plain(at.Error()))
	r.problems = append(r.problems, at1.problems...)
}

// plain turns the library's "toml: cannot decode TOML integer into struct field
// policy.rawProfile.Image of type string" into words for an administrator.
func plain(message string) string {
	message = strings.TrimPrefix(message, "toml: ")
	found, rest, ok := strings.Cut(message, " into struct field ")
	if !ok {
		return message
	}
	_, want, _ := strings.Cut(rest, " of type ")
	words := map[string]string{
		"string":          "a string",
		"[]string":        "a list of strings",
		"int64":           "a whole number",
		"bool":            "true or false",
		"policy.rawReady": `a table such as { pid-file = "-p", timeout = "30s" }`,
	}
	if words[want] != "" {
		want = words[want]
	}
	return "is of type " + strings.TrimPrefix(found, "cannot decode TOML ") + ", should be " + want
}

// keysOf lists the keys of a struct by its toml tags, those of nested structs
// as "outer.inner".
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for i := range t.NumField() {
		field := t.Field(i)
		key := prefix + field.Tag.Get("toml")
		keys = append(keys, key)
		if field.Type.Kind() == reflect.Pointer && field.Type.Elem().Kind() == reflect.Struct {
			keys = append(keys, keysOf(field.Type.Elem(), key+".")...)
		}
	}
	return keys
}
