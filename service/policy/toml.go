package policy

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// report collects all problems of one file, so that an administrator sees them
// together.
type report struct {
	file     string
	lines    map[string]int // line of each key, from 1
	problems []error
	warnings []string
}

func (r *report) errorf(key, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", r.at(key), fmt.Sprintf(format, args...)))
}

func (r *report) warnf(key, format string, args ...any) {
	r.warnings = append(r.warnings, r.at(key)+": "+fmt.Sprintf(format, args...))
}

// at returns "file:line: key". A key that is not in the file gets the line of the
// key that would contain it, or the first line.
func (r *report) at(key string) string {
	line := 1
	for k := key; k != ""; k = parentKey(k) {
		if l, ok := r.lines[k]; ok {
			line = l
			break
		}
	}
	return fmt.Sprintf("%s:%d: %s", r.file, line, key)
}

// parentKey returns "a.b" for "a.b[3]", "a" for "a.b", and "" for "a".
func parentKey(key string) string { return key[:max(0, strings.LastIndexAny(key, ".["))] }

// element names the i-th element of a list.
func element(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// decode reads a TOML document into the struct that into points to. A key that is
// unknown or has other letter case is a problem. It reports whether the document
// could be read.
func decode(r *report, document []byte, into any) bool {
	if err := toml.Unmarshal(document, new(map[string]any)); err != nil {
		r.decodeError(err)
		return false
	}
	w := walk(document)
	r.lines = w.lines
	unknown := r.unknownKeys(w.keys, keysOf(reflect.TypeOf(into).Elem(), ""))
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

// unknownKeys reports every key that is not known, except those inside an unknown
// key, and returns whether there was one.
func (r *report) unknownKeys(keys, known []string) bool {
	unknown := make(map[string]bool)
	for _, key := range keys {
		name := key
		if strings.HasSuffix(name, "]") { // an element of a list
			name = parentKey(name)
		}
		if slices.Contains(known, name) || slices.Contains(known, parentKey(name)+anyKey) || unknown[key] {
			continue
		}
		unknown[key] = true
		if !unknown[parentKey(key)] {
			r.errorf(key, "unknown key%s", didYouMean(key, known))
		}
	}
	return len(unknown) > 0
}

// decodeError reports an error of the TOML library with its line.
func (r *report) decodeError(err error) {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		r.errorf("", "%s", strings.TrimPrefix(err.Error(), "toml: "))
		return
	}
	key := strings.Join(at.Key(), ".")
	if key == "" {
		key = "TOML"
	}
	line, _ := at.Position()
	r.lines = map[string]int{key: line}
	r.errorf(key, "%s", plain(at.Error()))
}

// plain turns the library's "toml: cannot decode TOML integer into struct field
// policy.rawProfile.Image of type string" into words for an administrator.
func plain(message string) string {
	message = strings.TrimPrefix(message, "toml: ")
	found, want, ok := strings.Cut(strings.TrimPrefix(message, "cannot decode TOML "), " into ")
	if !ok {
		return message
	}
	if _, field, ok := strings.Cut(want, " of type "); ok { // of a struct, not an element of a table
		want = field
	}
	words := map[string]string{
		"string":            "a string",
		"[]string":          "a list of strings",
		"int64":             "a whole number",
		"bool":              "true or false",
		"map[string]string": `a table such as { haproxy = "localhost/haproxy:3" }`,
		"policy.rawLimits":  `a table such as { memory-max = "2G", tasks-max = 1000 }`,
		"policy.rawReady":   `a table such as { pid-file = "-p", timeout = "30s" }`,
	}
	if words[want] != "" {
		want = words[want]
	}
	return "is of type " + found + ", should be " + want
}

// anyKey stands for the keys of a table that may have any.
const anyKey = ".*"

// keysOf lists the keys of a struct by its toml tags, keys of nested structs as
// "outer.inner".
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for i := range t.NumField() {
		field := t.Field(i)
		key := prefix + field.Tag.Get("toml")
		keys = append(keys, key)
		if field.Type.Kind() == reflect.Pointer && field.Type.Elem().Kind() == reflect.Struct {
			keys = append(keys, keysOf(field.Type.Elem(), key+".")...)
		} else if field.Type.Kind() == reflect.Map {
			keys = append(keys, key+anyKey)
		}
	}
	return keys
}

// walker finds the keys of a TOML document and their lines. It is needed because the
// decoder tells lines only for its own errors and takes "Image" for "image".
type walker struct {
	document []byte
	keys     []string // in order, elements of lists as key[0], key[1]…
	lines    map[string]int
}

// walk reads a document that must be valid TOML.
func walk(document []byte) *walker {
	w := &walker{document: document, lines: map[string]int{}}
	parser := unstable.Parser{}
	parser.Reset(document)
	table := ""
	for parser.NextExpression() {
		node := parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = w.name("", node)
		case unstable.KeyValue:
			w.value(w.name(table, node), node.Value())
		}
	}
	return w
}

// name records the key of a table or of a value, and returns it.
func (w *walker) name(prefix string, node *unstable.Node) string {
	var parts []string
	if prefix != "" {
		parts = append(parts, prefix)
	}
	offset := 0
	for it := node.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
		offset = int(it.Node().Raw.Offset)
	}
	key := strings.Join(parts, ".")
	w.record(key, offset)
	return key
}

// value records the keys inside a value.
func (w *walker) value(key string, node *unstable.Node) {
	i := 0
	for it := node.Children(); it.Next(); i++ {
		child := it.Node()
		switch node.Kind {
		case unstable.InlineTable:
			w.value(w.name(key, child), child.Value())
		case unstable.Array:
			if child.Raw.Length > 0 {
				w.record(element(key, i), int(child.Raw.Offset))
			}
			w.value(element(key, i), child)
		}
	}
}

func (w *walker) record(key string, offset int) {
	w.keys = append(w.keys, key)
	if w.lines[key] == 0 {
		w.lines[key] = 1 + bytes.Count(w.document[:offset], []byte("\n"))
	}
}
