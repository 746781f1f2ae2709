package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tripleo.io/sidecar/interfaces"
)

const maxShown = 200 // bytes of an argument in an error

// refusal says why an argument is not accepted.
type refusal struct {
	index  int // -1: an argument is missing
	rule   string
	reason string
	reach  int // bytes that the rule accepted, to find the nearest rule; not part of the answer
}

func refuse(index int, rule, format string, args ...any) *refusal {
	return &refusal{index: index, rule: rule, reason: fmt.Sprintf(format, args...)}
}

// error returns the interface's error. If an argument is missing, its option stands for
// it.
func (r *refusal) error(arguments []string) error {
	e := &interfaces.ArgumentNotAllowedError{Index: int64(r.index), Reason: r.reason}
	if r.index >= 0 {
		e.Argument = cut(arguments[r.index])
	} else {
		e.Argument = optionOf(r.rule)
	}
	if r.rule != "" {
		e.Rule = &r.rule
	}
	return e
}

// cut shortens s for an error, and makes it valid UTF-8.
func cut(s string) string {
	const more = "…"
	if len(s) > maxShown {
		end := maxShown - len(more)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + more
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func quote(s string) string { return "\"" + s + "\"" }

// explain makes a better refusal of the nearest one, which is of the rule that
// accepted most of the argument: it names the rules for the same option, or an option
// that may have been meant.
func (p *Profile) explain(argument string, i int, nearest *refusal) *refusal {
	option := optionOf(argument)
	same := p.rulesFor(option)
	switch {
	case nearest != nil && nearest.index > i:
		return nearest // the option was accepted, its value was not
	case len(same) > 0:
		return explainValue(i, option, same, nearest)
	case argument == "":
		return refuse(i, "", "no rule of profile %s accepts an empty argument", p.Name)
	case option == "" && nearest != nil && nearest.reach > 0:
		return refuse(i, nearest.rule, "%s", nearest.reason)
	case option == "":
		return refuse(i, "", "no rule of profile %s accepts an argument that is not an option", p.Name)
	case len(argument) > 2 && !strings.HasPrefix(argument, "--"):
		return p.explainShort(argument, i)
	}
	return p.explainOption(option, i)
}

// explainValue refuses a value of an option that has rules.
func explainValue(i int, option string, same []*rule, nearest *refusal) *refusal {
	texts := make([]string, 0, len(same))
	for _, r := range same {
		texts = append(texts, quote(r.text))
	}
	accepted := strings.Join(texts, ", ")
	if nearest == nil || !slices.ContainsFunc(same, func(r *rule) bool { return r.text == nearest.rule }) {
		return refuse(i, same[0].text, "%s is accepted only as %s", option, accepted)
	}
	return refuse(i, nearest.rule, "%s; accepted: %s", nearest.reason, accepted)
}

// explainShort refuses the forms "-xVALUE" and "-xyz", which getopt(3) accepts and no
// rule does.
func (p *Profile) explainShort(argument string, i int) *refusal {
	same := p.rulesFor(argument[:2])
	switch {
	case len(same) == 0:
		return refuse(i, "", "no rule of profile %s accepts it; options may not be bundled, nor have their values attached", p.Name)
	case len(same[0].words) == 2:
		return refuse(i, same[0].text, "%s and its value must be two arguments: %s", same[0].option, same[0].text)
	}
	return refuse(i, same[0].text, "options must be written one by one, not bundled: %s", same[0].text)
}

// explainOption refuses an option that has no rule. It may be misspelt, or abbreviated
// as getopt_long(3) accepts it.
func (p *Profile) explainOption(option string, i int) *refusal {
	for _, r := range p.rules {
		if len(option) > len("--") && strings.HasPrefix(r.option, option) {
			return refuse(i, r.text, "no rule of profile %s accepts %s; options must be written in full (did you mean %s?)", p.Name, cut(option), r.text)
		}
	}
	if best, ok := nearest(option, p.options()); ok {
		r := p.rulesFor(best)[0]
		return refuse(i, r.text, "no rule of profile %s accepts %s (did you mean %s?)", p.Name, cut(option), r.text)
	}
	return refuse(i, "", "no rule of profile %s accepts %s", p.Name, cut(option))
}

// didYouMean returns " (did you mean X?)" for the candidate nearest to word, or "" if
// none is near.
func didYouMean(word string, candidates []string) string {
	best, ok := nearest(word, candidates)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// nearest returns the candidate with the smallest distance: at most two, and less for
// a short word.
func nearest(word string, candidates []string) (best string, found bool) {
	const longest = 64 // nobody types a longer word
	most := min(2, (len(strings.TrimLeft(word, "-"))+1)/3)
	for _, candidate := range candidates {
		if max(len(word), len(candidate)) > longest {
			continue
		}
		if d := distance(word, candidate); d <= most {
			best, found, most = candidate, true, d-1
		}
	}
	return best, found
}

// distance is the Levenshtein distance in bytes, ignoring the case of letters.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
