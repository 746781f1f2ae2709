package policy

import (
	"path"
	"slices"
	"strings"
)

// ownDirectory stands in subdirectories for the state directory itself without its
// subdirectories.
const ownDirectory = "."

func (r *report) stateDirectories(dirs []string) []string {
	const key = "state-directories"
	if len(dirs) == 0 {
		r.errorf(key, "is missing: the directories that the agent's paths may lie in")
	}
	for i, dir := range dirs {
		reason := checkDirectory(dir)
		if reason == "" {
			reason = refuseDirectory(dir, true)
		}
		if reason != "" {
			r.errorf(element(key, i), "%q: %s", dir, reason)
			continue
		}
		r.apart(key, dirs, i)
		if dir == "/tmp" || dir == "/var/tmp" {
			r.warnf(element(key, i), "every user of the host may write to %s", dir)
		}
	}
	return dirs
}

// apart refuses the i-th directory if it overlaps one before it.
func (r *report) apart(key string, dirs []string, i int) {
	for _, other := range dirs[:i] {
		if overlaps(dirs[i], other) {
			r.errorf(element(key, i), "%s and %s overlap: name only one of them", other, dirs[i])
		}
	}
}

// subdirectories checks which parts of its state directories an agent may name. A
// part is relative to every state directory, or absolute and inside one of them.
func (r *report) subdirectories(subs, dirs []string) []string {
	const key = "subdirectories"
	for i, sub := range subs {
		problem := ""
		switch {
		case strings.HasPrefix(sub, "/"):
			problem = checkDirectory(sub)
			if problem == "" && !slices.ContainsFunc(dirs, func(dir string) bool { return within(dir, sub) }) {
				r.errorf(element(key, i), "%q lies in none of the state-directories (%s)", sub, strings.Join(dirs, ", "))
				continue
			}
		case sub != ownDirectory:
			if problem = checkDirectory("/x/" + sub); problem != "" {
				problem = "with the state directory before it, " + problem
			}
		}
		if problem != "" {
			r.errorf(element(key, i), "%q: %s", sub, problem)
			continue
		}
		r.apart(key, subs, i)
	}
	return subs
}

// subdirectoriesOf returns which parts of a state directory, relative to it, the
// agent's arguments may name; none means all. If there are absolute parts for this
// directory, the relative parts do not count.
func (a *Agent) subdirectoriesOf(root string) []string {
	var own, common []string
	for _, sub := range a.Subdirectories {
		if !strings.HasPrefix(sub, "/") {
			common = append(common, sub)
		} else if rel, inside := beneath(root, sub); inside {
			own = append(own, rel)
		} else if sub == root {
			return nil
		}
	}
	if own != nil {
		return own
	}
	return common
}

// mayName reports whether the agent's arguments may name a file, relative to a
// state directory.
func (a *Agent) mayName(root, rel string) bool {
	subs := a.subdirectoriesOf(root)
	return len(subs) == 0 || slices.ContainsFunc(subs, func(sub string) bool {
		_, ok := beneath(sub, rel)
		return ok || sub == ownDirectory && path.Dir(rel) == "."
	})
}

// place is a directory that an agent's sidecars may write to, or in which the agent
// can have a file removed.
type place struct {
	dir   string
	alone bool // without its subdirectories
}

// places lists the directories that the agent's arguments may name, and the
// directories of its state directories that its profiles mount for writing.
func (s *Set) places(a *Agent) []place {
	var places []place
	for _, root := range a.StateDirectories {
		subs := a.subdirectoriesOf(root)
		if len(subs) == 0 {
			places = append(places, place{dir: root})
			continue
		}
		for _, sub := range subs {
			places = append(places, place{path.Join(root, sub), sub == ownDirectory})
		}
		for _, p := range s.Granted(a.Name) {
			for _, dir := range p.writes() {
				places = append(places, place{dir: path.Join(root, dir)})
			}
		}
	}
	return places
}

// writes lists the directories of a state directory that the profile's sidecars may
// write to, or that sidecar-launch writes their pid files to.
func (p *Profile) writes() []string {
	var dirs []string
	for _, m := range p.Mounts {
		if m.State && m.Writable && !m.Private {
			dirs = append(dirs, m.Path)
		}
	}
	for _, file := range append(slices.Clone(p.Ready.PIDFiles), p.Ready.DefaultPIDFile) {
		if strings.HasPrefix(file, stateHole) {
			dir, _ := templateDir(file)
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// overlaps reports whether two places have a directory in common.
func (p place) overlaps(q place) bool {
	_, pq := beneath(p.dir, q.dir)
	_, qp := beneath(q.dir, p.dir)
	return p.dir == q.dir || pq && !p.alone || qp && !q.alone
}

// sharedPlaces warns of agents that can reach each other's files: sidecar-launch
// removes the pid file that an agent names, and the agent's sidecars write there.
func (s *Set) sharedPlaces(reports map[string]*report) []string {
	places := map[*Agent][]place{}
	for _, a := range s.Agents() {
		places[a] = s.places(a)
	}
	return s.shared(reports, "state-directories", "files there can also be removed and written on behalf of %s", func(a, b *Agent) bool {
		return slices.ContainsFunc(places[a], func(p place) bool { return slices.ContainsFunc(places[b], p.overlaps) })
	})
}
