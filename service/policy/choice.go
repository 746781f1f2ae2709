package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"tripleo.io/sidecar/service/document"
)

// choice is a request whose arguments all have a rule. It finds the directories and
// files that the arguments name.
type choice struct {
	agent   *Agent
	profile *Profile
	uses    []use
	key     use // of the instance argument
}

func newChoice(a *Agent, p *Profile, m *matches) (*choice, *refusal) {
	c := &choice{agent: a, profile: p, uses: m.uses}
	var refusal *refusal
	c.key, _, refusal = c.once(p.Instance, "it tells two instances apart", true)
	if refusal == nil && c.key.hole.path {
		c.key.at, refusal = c.locate(c.key)
	}
	return c, refusal
}

// once finds the use of an option that may be given only once, and must be given if
// it is required.
func (c *choice) once(option, why string, required bool) (found use, given bool, _ *refusal) {
	for _, u := range c.uses {
		if u.rule.option != option {
			continue
		}
		if given {
			return found, given, refuse(u.index, u.rule.text, "%s is accepted only once: %s", option, why)
		}
		found, given = u, true
	}
	if required && !given {
		r, _, _ := c.profile.valueRule(option)
		return found, given, refuse(-1, r.text, "%s is required: %s", r.text, why)
	}
	return found, given, nil
}

// refuse refuses the value of a hole.
func (u use) refuse(format string, args ...any) *refusal {
	return refuse(u.index, u.rule.text, "%s: %s", u.hole.name, fmt.Sprintf(format, args...))
}

// locate finds the state directory that a path lies in.
func (c *choice) locate(u use) (location, *refusal) {
	dir, reason := path.Dir(u.value), checkPath(u.value)
	if u.hole.dir {
		dir = u.value // sidecar-launch pins it, so the engine does not see a ':' in it
	} else if reason == "" {
		reason = checkDirectory(dir)
	}
	if reason != "" {
		return location{}, u.refuse("%s", reason)
	}
	for _, root := range c.agent.StateDirectories {
		rel, inside := beneath(root, u.value)
		switch {
		case !inside:
			continue
		case !c.agent.mayName(root, rel):
			return location{}, u.refuse("it is outside of the agent's subdirectories of %s (%s)",
				root, strings.Join(c.agent.subdirectoriesOf(root), ", "))
		}
		return location{document.File{Root: root, Path: rel}, dir}, nil
	}
	return location{}, u.refuse("it is outside of the agent's state directories (%s)", strings.Join(c.agent.StateDirectories, ", "))
}

// mounts locates every path, and lists what the container sees: the profile's own
// mounts, and the directory of each path.
func (c *choice) mounts() ([]document.Mount, *refusal) {
	all := mounts{}
	for _, m := range c.profile.Mounts { // parsing the profile made sure that their paths differ
		if m.State {
			all.add(document.Mount{Root: c.key.at.Root, Path: m.Path, Writable: m.Writable, Private: m.Private, Optional: m.Optional})
		} else {
			all.add(document.Mount{Path: m.Path, Target: m.Target, Writable: m.Writable, Optional: m.Optional})
		}
	}
	for i, u := range c.uses {
		if !u.hole.path {
			continue
		}
		at, refusal := c.locate(u)
		if refusal != nil {
			return nil, refusal
		}
		u.at, c.uses[i].at = at, at
		if refusal := c.mount(all, u); refusal != nil {
			return nil, refusal
		}
	}
	return all.list(), nil
}

// mount adds the directory of a path.
func (c *choice) mount(all mounts, u use) *refusal {
	dir, inside := beneath(u.at.Root, u.at.dir)
	if !inside {
		dir = "."
		if refusal := c.mountsState(u); refusal != nil {
			return refusal
		}
	}
	if hidden := c.hidden(u.at.dir); hidden != "" && !u.hole.private {
		return u.refuse("profile %s hides %s from its processes: put the file into another directory", c.profile.Name, hidden)
	}
	mount := document.Mount{Root: u.at.Root, Path: dir, Writable: u.hole.writable, Private: u.hole.private, Given: true}
	if reason := all.add(mount); reason != "" {
		return u.refuse("%s", reason)
	}
	if len(all) > document.MaxMounts {
		return u.refuse("its directory would be the %dth that is mounted, %d are accepted: put the files into fewer directories",
			len(all), document.MaxMounts)
	}
	return nil
}

// hidden returns the directory that the profile hides and that dir lies in, or "".
func (c *choice) hidden(dir string) string {
	for _, m := range c.profile.Mounts {
		target := path.Join(c.key.at.Root, m.Path)
		if _, inside := beneath(target, dir); inside && m.State && m.Private {
			return target
		}
	}
	return ""
}

// mountsState refuses a file directly in a state directory, unless the profile
// mounts the whole directory anyway.
func (c *choice) mountsState(u use) *refusal {
	mounted := u.at.Root == c.key.at.Root && slices.ContainsFunc(c.profile.Mounts, func(m ProfileMount) bool {
		return m.State && m.Path == "." && !m.Private && (m.Writable || !u.hole.writable)
	})
	if mounted || u.hole.private {
		return nil
	}
	entry := stateHole + ":ro"
	if u.hole.writable {
		entry = stateHole + ":rw"
	}
	return u.refuse("it lies directly in the state directory %s, all of which would have to be mounted: "+
		"use a directory in it, or let the administrator add %q to the mounts of profile %s", u.at.Root, entry, c.profile.Name)
}

// pidFiles lists the pid files that the process must write. The paths have been
// located.
func (c *choice) pidFiles() ([]document.File, *refusal) {
	var files []document.File
	defaultFile := c.profile.Ready.DefaultPIDFile
	for _, entry := range c.profile.Ready.PIDFiles {
		u, given, refusal := c.once(entry, "it names the pid file", defaultFile == "" && !isTemplate(entry))
		if refusal != nil {
			return nil, refusal
		}
		file := u.at.File
		if !given {
			u = c.key // the template's values come from the instance
			template := entry
			if !isTemplate(entry) {
				template = defaultFile
			}
			if file, refusal = c.file(template); refusal != nil {
				return nil, refusal
			}
		}
		if slices.Contains(files, file) {
			return nil, refuse(u.index, u.rule.text, "another pid file has the same path")
		}
		files = append(files, file)
	}
	return files, nil
}

// file returns the file of a template.
func (c *choice) file(template string) (document.File, *refusal) {
	file, err := c.key.at.expand(template)
	if err != nil {
		return file, refuse(c.key.index, c.key.rule.text, "%s: %v", template, err)
	}
	return file, nil
}
