package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxRules = 512 // of a profile; each is compared with every other

// rule accepts one argument, or two: an option and its value.
type rule struct {
	text   string
	option string // its name in the keys instance and ready
	words  []word // one or two

	ignored bool // the program does not get the argument
}

// word is the form of one argument.
type word []piece

// piece is a literal or a hole.
type piece struct {
	literal string
	hole    *hole
}

// parseRule parses a rule of a profile. Its error is for the administrator who wrote
// the rule.
func parseRule(text string) (*rule, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return nil, fmt.Errorf("character %q: a rule is written in printable ASCII; use a hole such as {text} for other characters", text[i])
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
			return nil, errors.New("'{' without '}' after it")
		}
		h, ok := findHole(s[:end])
		switch {
		case s[:end] == "{path}":
			return nil, errors.New("unknown hole {path}: write {path:ro} or {path:rw}")
		case !ok:
			return nil, fmt.Errorf("unknown hole %s%s; the holes are %s", s[:end], didYouMean(s[:end], holeNames()), strings.Join(holeNames(), " "))
		}
		w = append(w, piece{hole: h})
		s = s[end:]
	}
	return w, w.check()
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
			return fmt.Errorf("%s directly after %s: a literal must stand between them", next.hole.name, p.hole.name)
		case p.hole.open:
			return fmt.Errorf("%s takes everything, so it must be the last of its rule", p.hole.name)
		case p.hole.accepts(next.literal[0]):
			return fmt.Errorf("%q after %s could be part of it: put a character between them that the hole does not accept", next.literal[:1], p.hole.name)
		}
	}
	return nil
}

// check refuses a rule that is neither one argument nor an option and its value.
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
		return errors.New("it would end the options, or begin an option that is not written out")
	}
	return nil
}

// holes lists the holes in their order.
func (r *rule) holes() []*hole {
	var holes []*hole
	for _, p := range slices.Concat(r.words...) {
		if p.hole != nil {
			holes = append(holes, p.hole)
		}
	}
	return holes
}

// namesFile reports whether a value of the rule is a path.
func (r *rule) namesFile() bool {
	return slices.ContainsFunc(r.holes(), func(h *hole) bool { return h.path })
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

// optionOf returns the option of an argument or a rule, which ends before the first
// '=', ' ' or hole; "" if it does not begin with '-'.
func optionOf(s string) string {
	if !strings.HasPrefix(s, "-") {
		return ""
	}
	if end := strings.IndexAny(s, "= {"); end >= 0 {
		return s[:end]
	}
	return s
}

// rules reads the rules of a profile and puts the rules without holes first. ignored
// are the rules of arguments that the program does not get.
func (r *report) rules(texts, ignored []string) (written []string, rules []*rule) {
	switch {
	case len(texts) == 0:
		r.errorf("arguments", "is missing: without a rule no argument is accepted")
	case len(texts)+len(ignored) > maxRules:
		r.errorf("arguments", "has %d rules, %d are accepted", len(texts)+len(ignored), maxRules)
		return nil, nil
	}
	for i, text := range texts {
		rules = r.rule(element("arguments", i), text, rules)
	}
	accepted := len(rules)
	for i, text := range ignored {
		rules = r.rule(element("ignored-arguments", i), text, rules)
	}
	for _, rule := range rules[accepted:] {
		rule.ignored = true
		if rule.namesFile() {
			r.errorf("ignored-arguments", "%q: a rule of an ignored argument cannot have a path hole", rule.text)
		}
	}
	slices.SortStableFunc(rules, func(a, b *rule) int { return len(a.holes()) - len(b.holes()) })
	return slices.Concat(texts, ignored), rules
}

// rule adds a well-formed rule to rules.
func (r *report) rule(key, text string, rules []*rule) []*rule {
	parsed, err := parseRule(text)
	if err != nil {
		r.errorf(key, "%q: %v", text, err)
		return rules
	}
	for _, other := range rules {
		if reason := ambiguous(other, parsed); reason != "" {
			r.errorf(key, "%q: %s", text, reason)
			break
		}
	}
	return append(rules, parsed)
}

// valueRule finds the one rule of an option whose value is a single hole.
func (p *Profile) valueRule(option string) (*rule, *hole, bool) {
	same := p.rulesFor(option)
	if len(same) != 1 || same[0].ignored {
		return nil, nil, false
	}
	h, ok := same[0].value()
	return same[0], h, ok
}

// instance sets the option that tells instances apart.
func (r *report) instance(p *Profile, option string) {
	p.Instance = option
	if option == "" {
		r.errorf("instance", "is missing: the option whose value tells two instances apart")
		return
	}
	_, h, ok := p.valueRule(option)
	if !ok {
		r.errorf("instance", "%s must have exactly one rule in arguments, with one hole as its value%s", option, p.didYouMean(option))
		return
	}
	for i, m := range p.Mounts {
		if m.State && !h.path {
			r.errorf(element("mounts", i), "%s is known only if the instance %s names a path", stateHole, option)
		}
	}
}

// didYouMean suggests another option, for one that has no rule.
func (p *Profile) didYouMean(option string) string {
	if len(p.rulesFor(option)) > 0 {
		return ""
	}
	return didYouMean(option, p.options())
}

// options lists the options of all rules, each once.
func (p *Profile) options() []string {
	var options []string
	for _, r := range p.rules {
		if r.option != "" && !slices.Contains(options, r.option) {
			options = append(options, r.option)
		}
	}
	return options
}

// rulesFor lists the rules for an option.
func (p *Profile) rulesFor(option string) []*rule {
	if option == "" {
		return nil
	}
	var same []*rule
	for _, r := range p.rules {
		if r.option == option {
			same = append(same, r)
		}
	}
	return same
}
