package policy

import "strings"

// use is a hole with the value that an argument gave it.
type use struct {
	rule  *rule
	hole  *hole
	value string
	index int // of the argument
}

// matches is how the rules took a whole list of arguments.
type matches struct {
	rules     []string // for each argument
	uses      []use
	arguments []string // without the ignored ones
}

// matchAll finds the rule of every argument. A rule of two words takes two.
func (p *Profile) matchAll(arguments []string) (*matches, *refusal) {
	m := &matches{rules: make([]string, 0, len(arguments))}
	for i := 0; i < len(arguments); {
		if arguments[i] == "--" {
			return nil, refuse(i, "", "'--' and what follows it are not accepted: write options only")
		}
		r, uses, refusal := p.matchOne(arguments, i)
		if refusal != nil {
			return nil, refusal
		}
		m.uses = append(m.uses, uses...)
		for range r.words {
			m.rules = append(m.rules, r.text)
			if !r.ignored {
				m.arguments = append(m.arguments, arguments[i])
			}
			i++
		}
	}
	return m, nil
}

// matchOne finds the rule of the i-th argument; a rule without holes goes first.
func (p *Profile) matchOne(arguments []string, i int) (*rule, []use, *refusal) {
	var nearest *refusal
	for _, r := range p.rules {
		uses, refusal := r.match(arguments, i)
		if refusal == nil {
			return r, uses, nil
		}
		if nearest == nil || refusal.reach > nearest.reach {
			nearest = refusal
		}
	}
	return nil, nil, p.explain(arguments[i], i, nearest)
}

// match tries the rule on the i-th argument and, if it has two words, the next.
func (r *rule) match(arguments []string, i int) ([]use, *refusal) {
	var uses []use
	for k, w := range r.words {
		if i+k == len(arguments) {
			refusal := refuse(i, r.text, "a value must follow it as an argument of its own: %s", r.text)
			refusal.reach = len(arguments[i])
			return nil, refusal
		}
		values, at, reason := w.match(arguments[i+k])
		if reason == "" && k > 0 && strings.HasPrefix(arguments[i+k], "-") && w[0].hole != nil {
			reason = "a value of " + r.option + " must not begin with '-'"
		}
		if reason != "" {
			return nil, r.failed(arguments, i+k, k, at, reason)
		}
		holes := w.holes()
		for j, value := range values {
			uses = append(uses, use{r, holes[j], value, i + k})
		}
	}
	return uses, nil
}

// failed is the refusal of an argument that the rule's k-th word does not
// accept from byte at on.
func (r *rule) failed(arguments []string, index, k, at int, reason string) *refusal {
	refusal := refuse(index, r.text, "%s", reason)
	refusal.reach = at
	if k > 0 {
		refusal.reach += len(arguments[index-1])
	}
	return refusal
}

func (w word) holes() []*hole {
	var holes []*hole
	for _, p := range w {
		if p.hole != nil {
			holes = append(holes, p.hole)
		}
	}
	return holes
}

// match returns the values of the word's holes, or how far it came and why it
// does not accept the argument.
func (w word) match(argument string) (values []string, at int, reason string) {
	for _, p := range w {
		rest := argument[at:]
		if p.hole == nil {
			if !strings.HasPrefix(rest, p.literal) {
				return nil, at + common(rest, p.literal), "expected is " + quote(p.literal)
			}
			at += len(p.literal)
			continue
		}
		value := rest[:span(rest, p.hole.accepts)]
		if value == "" || !p.hole.valid(value) {
			return nil, at, p.hole.name + " stands for " + p.hole.want
		}
		values = append(values, value)
		at += len(value)
	}
	if at < len(argument) {
		return nil, at, "too much: " + quote(cut(argument[at:]))
	}
	return values, at, ""
}

// span counts the leading bytes of s that are accepted.
func span(s string, accepts class) int {
	for i := range len(s) {
		if !accepts(s[i]) {
			return i
		}
	}
	return len(s)
}

// common counts the leading bytes that a and b share.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func quote(s string) string { return "\"" + s + "\"" }
