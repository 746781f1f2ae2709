package policy

import (
	"errors"
	"fmt"
	"strings"
)

// rule accepts one argument, or an option and its value as two.
type rule struct {
	text   string
	option string // what the instance and readiness keys call it
	words  []word // one or two

	ignored bool // the program does not get the argument
}

// word is what one argument must look like: literals and holes in turn.
type word []piece

// piece is a literal or a hole.
type piece struct {
	literal string
	hole    *hole
}

// parseRule takes a rule as written in a profile apart. Its error says what is
// wrong, for the administrator who wrote it.
func parseRule(text string) (*rule, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return nil, fmt.Errorf("character %q: a rule is written in printable ASCII; what is not fits only into {text}", text[i])
		}
	}
	r := &rule{text: text, option: optionOf(text)}
	for _, s := range strings.Split(text, " ") {
		w, err := parseWord(s)
		if err != nil {
			return nil, err
		}
		r.words = append(r.words, w)
	}
	return r, r.check()
}

// parseWord takes one word apart.
func parseWord(s string) (word, error) {
	var w word
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			open = len(s)
		}
		if strings.Contains(s[:open], "}") {
			return nil, errors.New("'}' without '{' before it")
		}
		if open > 0 {
			w = append(w, piece{literal: s[:open]})
			s = s[open:]
			continue
		}
		end := strings.IndexByte(s, '}') + 1
		if end == 0 {
			return nil, errors.New("'{' without '}' behind it")
		}
		h, ok := findHole(s[:end])
		if !ok {
			return nil, unknownHole(s[:end])
		}
		w = append(w, piece{hole: h})
		s = s[end:]
	}
	return w, w.check()
}

func unknownHole(name string) error {
	if name == "{path}" {
		return errors.New("unknown hole {path}: write {path:ro} or {path:rw}")
	}
	return fmt.Errorf("unknown hole %s%s; there are %s", name, didYouMean(name, holeNames()), strings.Join(holeNames(), " "))
}

// check refuses a word that could be read in two ways.
func (w word) check() error {
	for i, p := range w {
		if p.hole == nil || i == len(w)-1 {
			continue
		}
		next := w[i+1]
		switch {
		case next.hole != nil:
			return fmt.Errorf("%s directly behind %s: a literal must stand between them", next.hole.name, p.hole.name)
		case p.hole.open:
			return fmt.Errorf("%s takes everything, so it must be the last of its rule", p.hole.name)
		case p.hole.accepts(next.literal[0]):
			return fmt.Errorf("%q behind %s could be part of it: put a character between them that it does not take", next.literal[:1], p.hole.name)
		}
	}
	return nil
}

// check refuses a rule that is not one argument, or an option and a value.
func (r *rule) check() error {
	first := r.words[0]
	switch {
	case len(r.words) > 2 || len(r.words) == 2 && (len(first) == 0 || len(r.words[1]) == 0):
		return errors.New("a rule is one argument, or an option, one space, and its value")
	case len(r.words) == 2 && (first[0].hole != nil || len(first) > 1 || first[0].literal[0] != '-'):
		return errors.New("a rule of two words must begin with a literal option, such as -f")
	case len(first) > 0 && first[0].hole != nil && first[0].hole.open:
		return fmt.Errorf("a rule that begins with %s would accept any option", first[0].hole.name)
	case len(first) > 0 && (first[0].literal == "--" || first[0].literal == "-"):
		return errors.New("it would end the options, or begin one that is not written out")
	}
	return nil
}

// literal reports whether the rule has no hole.
func (r *rule) literal() bool {
	return len(r.holes()) == 0
}

// holes lists the holes in their order.
func (r *rule) holes() []*hole {
	var holes []*hole
	for _, w := range r.words {
		holes = append(holes, w.holes()...)
	}
	return holes
}

// value returns the one hole that is the whole value of the rule's option:
// "--pid-file={path:rw}" or "-f {path:ro}".
func (r *rule) value() (*hole, bool) {
	last := r.words[len(r.words)-1]
	switch {
	case len(r.words) == 2 && len(last) == 1:
		return last[0].hole, last[0].hole != nil
	case len(r.words) == 1 && len(last) == 2 && last[0].literal == r.option+"=":
		return last[1].hole, last[1].hole != nil
	}
	return nil, false
}

// optionOf returns the option that an argument or a rule begins with: all up to
// the first '=', ' ' or hole. What does not begin with '-' has none.
func optionOf(s string) string {
	if !strings.HasPrefix(s, "-") {
		return ""
	}
	if end := strings.IndexAny(s, "= {"); end >= 0 {
		return s[:end]
	}
	return s
}
