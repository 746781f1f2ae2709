package policy

import (
	"bytes"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a key of a TOML document and the line where it stands.
type position struct {
	key  string
	line int
}

// positions lists every key of the document in order, with elements of lists as
// key[0], key[1]… The decoder itself tells lines only for its own errors, and
// it takes "Image" for "image", so both are looked up here. The document must
// have been parsed without an error before.
func positions(document []byte) []position {
	w := walker{newlines: newlines(document)}
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
	return w.found
}

type walker struct {
	newlines []int
	found    []position
}

// name records the key of a table or of a key with its value, and returns it.
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

// value records what is inside a value.
func (w *walker) value(key string, node *unstable.Node) {
	i := 0
	for it := node.Children(); it.Next(); i++ {
		child := it.Node()
		switch {
		case node.Kind == unstable.InlineTable:
			w.value(w.name(key, child), child.Value())
		case node.Kind == unstable.Array:
			if child.Raw.Length > 0 {
				w.record(element(key, i), int(child.Raw.Offset))
			}
			w.value(element(key, i), child)
		}
	}
}

func (w *walker) record(key string, offset int) {
	w.found = append(w.found, position{key, 1 + sort.SearchInts(w.newlines, offset)})
}

func newlines(document []byte) []int {
	var offsets []int
	for at := 0; ; at++ {
		i := bytes.IndexByte(document[at:], '\n')
		if i < 0 {
			return offsets
		}
		at += i
		offsets = append(offsets, at)
	}
}
