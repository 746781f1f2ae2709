package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxArguments     = 1024
	maxArgument      = 4096     // bytes
	maxArgumentBytes = 64 << 10 // of all arguments together
)

// checkArguments refuses what no rule may accept: too many or too long arguments, and
// arguments that are not plain text.
func checkArguments(arguments []string) *refusal {
	total := 0
	for i, argument := range arguments {
		total += len(argument)
		switch {
		case i >= maxArguments:
			return refuse(i, "", "there are %d arguments, %d are accepted", len(arguments), maxArguments)
		case len(argument) > maxArgument:
			return refuse(i, "", "it has %d bytes, %d are accepted", len(argument), maxArgument)
		case total > maxArgumentBytes:
			return refuse(i, "", "the arguments have more than %d bytes in all", maxArgumentBytes)
		}
		if reason := checkText(argument); reason != "" {
			return refuse(i, "", "%s", reason)
		}
	}
	return nil
}

// checkText says what makes a text unreadable or misleading.
func checkText(s string) string {
	if !utf8.ValidString(s) {
		return "it is not valid UTF-8"
	}
	option := optionPart(s)
	for i, c := range s {
		switch {
		case unicode.IsControl(c):
			return fmt.Sprintf("it has the control character U+%04X at byte %d", c, i)
		case c == utf8.RuneError:
			return fmt.Sprintf("it has U+FFFD at byte %d, which stands for what was not valid UTF-8", i)
		case !unicode.IsPrint(c):
			return fmt.Sprintf("it has U+%04X at byte %d, which is not printable", c, i)
		case i < len(option) && isLookAlike(c):
			return fmt.Sprintf("it has U+%04X at byte %d, which only looks like '-': write the ASCII hyphen", c, i)
		}
	}
	return ""
}

// optionPart returns the part of an argument in which a dash that is not ASCII
// misleads: the option, or text that looks like an option, up to its '='.
func optionPart(s string) string {
	first, _ := utf8.DecodeRuneInString(s)
	if first != '-' && !isLookAlike(first) {
		return ""
	}
	option, _, _ := strings.Cut(s, "=")
	return option
}

// isLookAlike reports whether c looks like the ASCII dash: Unicode's dashes, minus
// signs and box drawings.
func isLookAlike(c rune) bool {
	return c > unicode.MaxASCII && (unicode.Is(unicode.Pd, c) || strings.ContainsRune("−⁃˗➖─━╴╶╸╺ー", c))
}

// use is a hole with the value that an argument gave it.
type use struct {
	rule  *rule
	hole  *hole
	value string
	index int      // of the argument
	at    location // of a path, when it has been located
}

// matches says how the rules accepted a list of arguments.
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

// matchOne finds the rule of the i-th argument. Rules without holes come first.
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
	reach := 0 // bytes of the words before
	for k, w := range r.words {
		if i+k == len(arguments) {
			refusal := refuse(i, r.text, "a value must follow it as a separate argument: %s", r.text)
			refusal.reach = reach
			return nil, refusal
		}
		argument := arguments[i+k]
		values, at, reason := w.match(argument)
		if reason == "" && k > 0 && strings.HasPrefix(argument, "-") && w[0].hole != nil {
			reason = "a value of " + r.option + " must not begin with '-'"
		}
		if reason != "" {
			refusal := refuse(i+k, r.text, "%s", reason)
			refusal.reach = reach + at
			return nil, refusal
		}
		for _, u := range values {
			u.rule, u.index = r, i+k
			uses = append(uses, u)
		}
		reach += len(argument)
	}
	return uses, nil
}

// match returns the word's holes with their values, or how many bytes it accepted and
// why it does not accept the rest.
func (w word) match(argument string) (uses []use, at int, reason string) {
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
		uses = append(uses, use{hole: p.hole, value: value})
		at += len(value)
	}
	if at < len(argument) {
		return nil, at, "too much: " + quote(cut(argument[at:]))
	}
	return uses, at, ""
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
