package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is what all policy files of a host say. It does not change; a reload makes
// another one.
type Set struct {
	agents   map[string]*Agent
	profiles map[string]*Profile
	warnings []string
}

// Warnings returns what is allowed but reaches far, as "file:line: key: text".
func (s *Set) Warnings() []string { return slices.Clone(s.warnings) }

// Agent finds an agent by its name.
func (s *Set) Agent(name string) (*Agent, bool) {
	a, ok := s.agents[name]
	return a, ok
}

// Agents returns all agents, sorted by name.
func (s *Set) Agents() []*Agent { return sorted(s.agents) }

// Profile finds a profile by its name, whether or not an agent is granted it.
func (s *Set) Profile(name string) (*Profile, bool) {
	p, ok := s.profiles[name]
	return p, ok
}

// Profiles returns all profiles, sorted by name.
func (s *Set) Profiles() []*Profile { return sorted(s.profiles) }

// Image returns the image that the agent's launches of a profile run, by the profile alone if
// the agent does not exist.
func (s *Set) Image(agent, profile string) (string, bool) {
	p, ok := s.profiles[profile]
	if !ok {
		return "", false
	}
	if a := s.agents[agent]; a != nil {
		p = a.withImage(p)
	}
	return p.Image, true
}

// Granted returns the profiles that the agent may launch, with its images, sorted by name. An
// unknown agent may launch none.
func (s *Set) Granted(agent string) []*Profile {
	var granted []*Profile
	if a, ok := s.agents[agent]; ok {
		for _, name := range a.Profiles {
			granted = append(granted, a.withImage(s.profiles[name]))
		}
	}
	return granted
}

func names[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func sorted[T any](m map[string]T) []T {
	values := make([]T, 0, len(m))
	for _, name := range names(m) {
		values = append(values, m[name])
	}
	return values
}

// Load reads profiles.d and agents.d of each directory. A file replaces the file
// of the same name in an earlier directory, so the vendor's directory comes first.
// If there is any problem, Load returns no Set: the error joins all problems, each
// as "file:line: key: what is wrong".
func Load(dirs ...string) (*Set, error) {
	s := &Set{agents: map[string]*Agent{}, profiles: map[string]*Profile{}}
	var l loader
	profiles := map[string]*report{}
	for _, f := range l.read(dirs, "profiles.d") {
		r := &report{file: f.file}
		s.profiles[f.name], profiles[f.name] = parseProfile(r, f.name, f.document), r
	}
	for _, name := range names(s.profiles) {
		if p := s.profiles[name]; p != nil {
			profiles[name].order(p, s.profiles)
		}
		l.add(profiles[name])
	}
	reports := map[string]*report{}
	for _, f := range l.read(dirs, "agents.d") {
		r := &report{file: f.file}
		a := parseAgent(r, f.name, f.document)
		if a != nil {
			r.grants(a, s.profiles)
			r.asRoot(a, s.profiles)
		}
		s.agents[f.name], reports[f.name] = a, r
		l.add(r)
	}
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	s.warnings = slices.Concat(l.warnings, s.sharedPlaces(reports), s.sharedLevels(reports), s.sharedLimits(reports))
	return s, nil
}

// grants checks the profiles that an agent is granted. A profile that is nil has
// problems of its own.
func (r *report) grants(a *Agent, profiles map[string]*Profile) {
	for _, name := range a.Profiles {
		p, ok := profiles[name]
		if !ok {
			r.errorf("profiles", "profile %q does not exist%s", name, didYouMean(name, names(profiles)))
		} else if p != nil {
			r.replaceable(a, p)
		}
	}
}

// replaceable refuses a profile's seccomp file, OCI runtimes and fixed mounts that the agent
// could replace, because they lie in the agent's own directory or contain it.
func (r *report) replaceable(a *Agent, p *Profile) {
	const key = "state-directories"
	for _, dir := range a.StateDirectories {
		for _, m := range p.Mounts {
			if !m.State && (overlaps(m.Path, dir) || overlaps(m.place(), dir)) {
				r.errorf(key, "%s overlaps the fixed mount %s of profile %s", dir, m.Path, p.Name)
			}
		}
		r.outside(dir, p, "seccomp file", p.Seccomp)
		for _, runtime := range p.Runtimes {
			r.outside(dir, p, "OCI runtime", runtime)
		}
	}
}

// outside refuses a file of the profile that lies in an agent's state directory.
func (r *report) outside(dir string, p *Profile, what, file string) {
	if _, inside := beneath(dir, file); inside {
		r.errorf("state-directories", "the %s %s of profile %s lies in %s: move it to a directory that only root may write",
			what, file, p.Name, dir)
	}
}

// shared warns at a key of each agent that has something in common with other
// agents. The format gets their names.
func (s *Set) shared(reports map[string]*report, key, format string, common func(a, b *Agent) bool) []string {
	var warnings []string
	agents := s.Agents()
	for _, a := range agents {
		var others []string
		for _, b := range agents {
			if a != b && common(a, b) {
				others = append(others, b.Name)
			}
		}
		if len(others) > 0 {
			text := fmt.Sprintf(format, strings.Join(others, ", "))
			warnings = append(warnings, reports[a.Name].at(key)+": "+text)
		}
	}
	return warnings
}
