package policy

import "strings"

// maxWords is how many words a profile can look for in a configuration.
const maxWords = 16

// configuration checks what a profile says of the configuration file of its process.
func (r *report) configuration(p *Profile, raw *rawConfiguration) {
	if raw == nil {
		return
	}
	if _, h, ok := p.valueRule(raw.File); !ok || !h.path || h.dir {
		r.errorf("configuration.file", "%q must be an option with exactly one rule in arguments, with a file as its value%s", raw.File, p.didYouMean(raw.File))
	}
	const key = "configuration.refused"
	if len(raw.Refused) == 0 || len(raw.Refused) > maxWords {
		r.errorf(key, "has %d entries, 1 to %d are accepted", len(raw.Refused), maxWords)
	}
	p.Configuration = &Configuration{Option: raw.File, Refused: map[string]string{}}
	for i, entry := range raw.Refused {
		word, reason, ok := strings.Cut(entry, ": ")
		if !ok || word == "" || reason == "" || strings.ContainsAny(word, " {") || checkText(entry) != "" {
			r.errorf(element(key, i), "%q is not a word, ': ' and a reason", entry)
		}
		p.Configuration.Refused[word] = reason
	}
}

// configuration returns the file that the profile's configuration is about.
func (c *choice) configuration() (*File, *refusal) {
	if c.profile.Configuration == nil {
		return nil, nil
	}
	for _, u := range c.uses {
		if u.rule.option != c.profile.Configuration.Option || !u.hole.path {
			continue
		}
		at, refusal := c.locate(u)
		if refusal != nil {
			return nil, refusal
		}
		rel, _ := beneath(at.root, at.path)
		return &File{Root: at.root, Path: rel}, nil
	}
	return nil, nil
}
