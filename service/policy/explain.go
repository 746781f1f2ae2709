package policy

import (
	"fmt"
	"slices"
	"strings"
)

// explain turns the refusal of the rule that came furthest into what the caller
// should know: rules for the same option first, then what it may have meant.
func (p *Profile) explain(argument string, i int, furthest *refusal) *refusal {
	if furthest != nil && furthest.index > i {
		return furthest // the option was taken, its value was not
	}
	option := optionOf(argument)
	if same := p.rulesFor(option); len(same) > 0 {
		return explainValue(i, option, same, furthest)
	}
	if option == "" {
		if argument == "" {
			return refuse(i, "", "no rule of profile %s accepts an empty argument", p.Name)
		}
		return p.explainWord(argument, i, furthest)
	}
	if refusal := p.explainShort(argument, i); refusal != nil {
		return refusal
	}
	return p.explainOption(option, i)
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

// explainValue: there are rules for the option, but not for this value.
func explainValue(i int, option string, same []*rule, furthest *refusal) *refusal {
	texts := make([]string, 0, len(same))
	for _, r := range same {
		texts = append(texts, quote(r.text))
	}
	accepted := strings.Join(texts, ", ")
	if furthest == nil || !slices.ContainsFunc(same, func(r *rule) bool { return r.text == furthest.rule }) {
		return refuse(i, same[0].text, "%s is accepted only as %s", option, accepted)
	}
	if len(same) == 1 {
		return refuse(i, furthest.rule, "%s; accepted is %s", furthest.reason, accepted)
	}
	return refuse(i, furthest.rule, "%s; accepted are %s", furthest.reason, accepted)
}

// explainWord: the argument is no option.
func (p *Profile) explainWord(argument string, i int, furthest *refusal) *refusal {
	if furthest != nil && furthest.reach > 0 {
		return refuse(i, furthest.rule, "%s", furthest.reason)
	}
	return refuse(i, "", "no rule of profile %s accepts an argument that is no option", p.Name)
}

// explainShort: getopt(3) takes "-xVALUE" and "-xyz" too, and no rule does.
func (p *Profile) explainShort(argument string, i int) *refusal {
	if len(argument) < 3 || strings.HasPrefix(argument, "--") {
		return nil
	}
	same := p.rulesFor(argument[:2])
	switch {
	case len(same) == 0:
		return refuse(i, "", "no rule of profile %s accepts it; options may not be bundled, nor have their values attached", p.Name)
	case len(same[0].words) == 2:
		return refuse(i, same[0].text, "%s and its value must be two arguments: %s", same[0].option, same[0].text)
	}
	return refuse(i, same[0].text, "options must be written one by one, not bundled: %s", same[0].text)
}

// explainOption: no rule has this option; one may be abbreviated or misspelt,
// which getopt_long(3) would take.
func (p *Profile) explainOption(option string, i int) *refusal {
	var options []string
	for _, r := range p.rules {
		if len(option) > len("--") && strings.HasPrefix(r.option, option) {
			return refuse(i, r.text, "no rule of profile %s accepts %s; options must be written in full (did you mean %s?)", p.Name, cut(option), r.text)
		}
		options = append(options, r.option)
	}
	if best, ok := nearest(option, options); ok && best != "" {
		r := p.rulesFor(best)[0]
		return refuse(i, r.text, "no rule of profile %s accepts %s (did you mean %s?)", p.Name, cut(option), r.text)
	}
	return refuse(i, "", "no rule of profile %s accepts %s", p.Name, cut(fmt.Sprint(option)))
}
