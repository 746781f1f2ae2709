package policy

import (
	"errors"
	"slices"
)

// Where the policy files of a host are.
const (
	VendorDirectory = "/usr/share/sidecar" // those of the distribution
	HostDirectory   = "/etc/sidecar"       // those of this host
)

// LoadHost loads the policy of this host, as the service does by default. For
// errors see Load.
func LoadHost() (*Set, error) { return Load(VendorDirectory, HostDirectory) }

// Load reads profiles.d and agents.d of each directory. A file in a later
// directory replaces the one of the same name in an earlier one: the vendor's
// directory goes first, the administrator's last. It is all or nothing: the
// error joins every problem found, each as "file:line: key: what is wrong".
func Load(dirs ...string) (*Set, error) {
	s := &Set{agents: map[string]*Agent{}, profiles: map[string]*Profile{}}
	var l loader
	profiles := l.read(dirs, "profiles.d")
	for _, f := range profiles {
		l.parse(f, func(r *report) { s.profiles[f.name] = parseProfile(r, f.name, f.document) })
	}
	reports := map[string]*report{}
	for _, f := range l.read(dirs, "agents.d") {
		reports[f.name] = l.parse(f, func(r *report) {
			a := parseAgent(r, f.name, f.document)
			s.agents[f.name] = a
			if a != nil {
				r.grants(a, s.profiles)
				r.asRoot(a, s.profiles)
			}
		})
	}
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	l.warnings = append(l.warnings, s.shared(reports)...)
	l.warnings = append(l.warnings, s.sameLevel(reports)...)
	s.warnings = l.warnings
	return s, nil
}

type loader struct {
	problems []error
	warnings []string
}

func (l *loader) read(dirs []string, sub string) []source {
	sources, problems := readAll(dirs, sub)
	l.problems = append(l.problems, problems...)
	return sources
}

func (l *loader) parse(f source, parse func(*report)) *report {
	r := &report{file: f.file}
	parse(r)
	l.problems = append(l.problems, r.problems...)
	l.warnings = append(l.warnings, r.warnings...)
	return r
}

// grants checks the profiles that an agent is granted against those there are.
// A profile that is nil has problems of its own.
func (r *report) grants(a *Agent, profiles map[string]*Profile) {
	var names []string
	for name := range profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range a.Profiles {
		p, ok := profiles[name]
		if !ok {
			r.errorf("profiles", "there is no profile %q%s", name, didYouMean(name, names))
		} else if p != nil {
			r.fixedMounts(a, p)
			r.seccompFile(a, p)
		}
	}
}

// fixedMounts refuses a profile's fixed path that the agent could swap for
// something else, because it lies in the agent's own directory or contains it.
func (r *report) fixedMounts(a *Agent, p *Profile) {
	for _, m := range p.Mounts {
		for _, dir := range a.StateDirectories {
			if !m.State && (overlaps(m.Path, dir) || overlaps(m.place(), dir)) {
				r.errorf("state-directories", "%s overlaps the fixed mount %s of profile %s", dir, m.Path, p.Name)
			}
		}
	}
}
