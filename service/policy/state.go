package policy

import (
	"path"
	"slices"
	"strings"
)

// ownDirectory stands in subdirectories for the state directory itself, without
// its subdirectories.
const ownDirectory = "."

// subdirectories checks which parts of its state directories an agent may name. One that
// is absolute is of the state directory that it lies in, or is it.
func (r *report) subdirectories(subs, dirs []string) []string {
	for i, sub := range subs {
		key := element("subdirectories", i)
		if strings.HasPrefix(sub, "/") {
			if reason := checkDirectory(sub); reason != "" {
				r.errorf(key, "%q: %s", sub, reason)
				continue
			}
			if !slices.ContainsFunc(dirs, func(dir string) bool { _, inside := beneath(dir, sub); return inside || sub == dir }) {
				r.errorf(key, "%q lies in none of the state-directories (%s)", sub, strings.Join(dirs, ", "))
				continue
			}
		} else if sub != ownDirectory {
			if reason := checkDirectory("/x/" + sub); reason != "" {
				r.errorf(key, "%q: with the state directory before it, %s", sub, reason)
				continue
			}
		}
		for _, other := range subs[:i] {
			if overlaps(sub, other) {
				r.errorf(key, "%s and %s overlap: name only one of them", other, sub)
			}
		}
	}
	return subs
}

// subdirectoriesOf returns which parts of a state directory, relative to it, the agent's
// arguments may name; none means all. Absolute ones go before those that are for every
// state directory.
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

// place is a directory that an agent's sidecars may write to, or that it can
// have a file removed in.
type place struct {
	dir   string
	alone bool // without its subdirectories
}

// places lists where the agent's arguments may lead, and what the profiles that
// it is granted mount for writing in its state directories besides.
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

// writes lists the directories of a state directory that the profile's sidecars
// may write to, or sidecar-launch puts their pid files into.
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
