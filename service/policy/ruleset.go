package policy

import "slices"

const maxRules = 512 // of a profile; each is compared with every other

// rules reads the rules of a profile and sorts them so that those without holes
// come first. ignored are the rules of arguments that the program does not get.
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
		if slices.ContainsFunc(rule.holes(), func(h *hole) bool { return h.path }) {
			r.errorf("ignored-arguments", "%q: a rule of an ignored argument cannot have a path hole", rule.text)
		}
	}
	slices.SortStableFunc(rules, func(a, b *rule) int { return len(a.holes()) - len(b.holes()) })
	return slices.Concat(texts, ignored), rules
}

// rule adds a rule to rules, if it is well-formed.
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
