package policy

import (
	"strings"

	"tripleo.io/sidecar/service/document"
)

// Configuration is what a configuration file must and must not contain.
type Configuration struct {
	Option  string            // its value is the file
	Refused map[string]string // words that no line may begin with, each with the reason
	PIDFile string            // word of the line that names the pid file if no argument does; "": not checked
}

// configuration checks what a profile says about its process's configuration file.
func (r *report) configuration(p *Profile, raw *rawConfiguration) {
	if raw == nil {
		return
	}
	if _, h, ok := p.valueRule(raw.File); !ok || !h.path || h.dir {
		r.errorf("configuration.file", "%q must be an option with exactly one rule in arguments, with a file as its value%s", raw.File, p.didYouMean(raw.File))
	}
	const key, most = "configuration.refused", 16
	switch {
	case len(raw.Refused) == 0 && raw.PIDFile == "":
		r.errorf("configuration", "refused or pid-file is missing")
	case len(raw.Refused) > most:
		r.errorf(key, "has %d entries, at most %d are accepted", len(raw.Refused), most)
	}
	switch {
	case raw.PIDFile == "":
	case !plainWord(raw.PIDFile):
		r.errorf("configuration.pid-file", "%q is not a word", raw.PIDFile)
	case p.Ready.DefaultPIDFile == "":
		r.errorf("configuration.pid-file", "an argument always names the pid file: ready has no default-pid-file")
	}
	p.Configuration = &Configuration{Option: raw.File, Refused: map[string]string{}, PIDFile: raw.PIDFile}
	for i, entry := range raw.Refused {
		word, reason, ok := strings.Cut(entry, ": ")
		if !ok || !plainWord(word) || reason == "" || checkText(entry) != "" {
			r.errorf(element(key, i), "%q is not a word, ': ' and a reason", entry)
		}
		p.Configuration.Refused[word] = reason
	}
}

// plainWord reports whether s can be the first word of a line.
func plainWord(s string) bool {
	return s != "" && !strings.ContainsAny(s, " {\"'\\") && checkText(s) == ""
}

// look returns what the launch checks in the profile's configuration file. The paths
// have been located.
func (c *choice) look() *document.Configuration {
	about := c.profile.Configuration
	if about == nil {
		return nil
	}
	for _, u := range c.uses {
		if u.rule.option != about.Option || !u.hole.path {
			continue
		}
		look := &document.Configuration{File: u.at.File, Refused: about.Refused, PIDFile: about.PIDFile}
		if look.PIDFile != "" {
			if _, given, _ := c.once(c.profile.Ready.PIDFiles[0], "", false); given {
				look.PIDFile = ""
			}
		}
		return look
	}
	return nil
}
