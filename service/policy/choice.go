package policy

import (
	"path"
	"slices"
	"strings"
)

// choice is a request whose arguments all have a rule: what is left is to find
// out where they lead.
type choice struct {
	agent    *Agent
	profile  *Profile
	uses     []use
	key      use      // of the instance argument
	instance instance // zero if the instance is no path
}

func newChoice(a *Agent, p *Profile, m *matches) (*choice, *refusal) {
	c := &choice{agent: a, profile: p, uses: m.uses}
	var refusal *refusal
	if c.key, refusal = c.required(p.Instance, "it tells two instances apart"); refusal != nil {
		return nil, refusal
	}
	if c.key.hole.path {
		if c.instance, refusal = c.locate(c.key); refusal != nil {
			return nil, refusal
		}
	}
	return c, nil
}

// required finds the use of an option that must be given exactly once.
func (c *choice) required(option, why string) (use, *refusal) {
	u, ok, refusal := c.once(option, why)
	if refusal == nil && !ok {
		r, _, _ := c.profile.valueRule(option)
		return u, refuse(-1, r.text, "%s is required: %s", r.text, why)
	}
	return u, refusal
}

// once finds the use of an option that may be given once.
func (c *choice) once(option, why string) (found use, ok bool, _ *refusal) {
	for _, u := range c.uses {
		if u.rule.option != option {
			continue
		}
		if ok {
			return found, ok, refuse(u.index, u.rule.text, "%s is accepted only once: %s", option, why)
		}
		found, ok = u, true
	}
	return found, ok, nil
}

// locate finds the state directory that a path lies in.
func (c *choice) locate(u use) (instance, *refusal) {
	dir, reason := path.Dir(u.value), checkPath(u.value)
	if u.hole.dir {
		dir = u.value // pinned, so a ':' in it is none of the engine's business
	} else if reason == "" {
		reason = checkDirectory(dir)
	}
	if reason != "" {
		return instance{}, refuse(u.index, u.rule.text, "%s: %s", u.hole.name, reason)
	}
	for _, root := range c.agent.StateDirectories {
		rel, ok := beneath(root, u.value)
		if !ok {
			continue
		}
		if !c.agent.mayName(root, rel) {
			return instance{}, refuse(u.index, u.rule.text, "%s: it is outside of the agent's subdirectories of %s (%s)",
				u.hole.name, root, strings.Join(c.agent.subdirectoriesOf(root), ", "))
		}
		return instance{root, u.value, dir}, nil
	}
	return instance{}, refuse(u.index, u.rule.text, "%s: it is outside of the agent's state directories (%s)",
		u.hole.name, strings.Join(c.agent.StateDirectories, ", "))
}

// mounts lists what the container sees: the profile's own mounts, and the
// directory of each path.
func (c *choice) mounts() ([]Mount, *refusal) {
	all := mounts{}
	for _, m := range c.profile.Mounts { // their paths differ: the profile was checked
		if m.State {
			all.addState(Mount{Root: c.instance.root, Path: m.Path, Writable: m.Writable, Private: m.Private, Optional: m.Optional})
		} else {
			all.add(Mount{Path: m.Path, Target: m.place(), Writable: m.Writable, Optional: m.Optional})
		}
	}
	for _, u := range c.uses {
		if !u.hole.path {
			continue
		}
		at, refusal := c.locate(u)
		if refusal != nil {
			return nil, refusal
		}
		dir, ok := beneath(at.root, at.dir)
		if !ok {
			dir = "."
			if refusal := c.mountsState(u, at.root); refusal != nil {
				return nil, refusal
			}
		}
		mount := Mount{Root: at.root, Path: dir, Writable: u.hole.writable, Private: u.hole.private, Named: true}
		if hidden := c.hidden(path.Join(at.root, dir)); hidden != "" && !u.hole.private {
			return nil, refuse(u.index, u.rule.text, "%s: profile %s hides %s from its processes: put the file into another directory",
				u.hole.name, c.profile.Name, hidden)
		}
		if reason := all.addState(mount); reason != "" {
			return nil, refuse(u.index, u.rule.text, "%s: %s", u.hole.name, reason)
		}
		if len(all) > maxMounts {
			return nil, refuse(u.index, u.rule.text, "%s: its directory would be the %dth that is mounted, %d are accepted: "+
				"put the files into fewer directories", u.hole.name, len(all), maxMounts)
		}
	}
	return all.list(), nil
}

// hidden returns the directory that the profile hides and that dir lies in, or "".
func (c *choice) hidden(dir string) string {
	for _, m := range c.profile.Mounts {
		target := path.Join(c.instance.root, m.Path)
		if _, inside := beneath(target, dir); inside && m.State && m.Private {
			return target
		}
	}
	return ""
}

// mountsState refuses a file directly in a state directory, unless the profile
// mounts all of that directory anyway.
func (c *choice) mountsState(u use, root string) *refusal {
	mounted, writable := c.profile.stateAccess()
	if u.hole.private || mounted && root == c.instance.root && (writable || !u.hole.writable) {
		return nil
	}
	entry := stateHole + ":ro"
	if u.hole.writable {
		entry = stateHole + ":rw"
	}
	return refuse(u.index, u.rule.text, "%s: it lies directly in the state directory %s, all of which would have to be mounted: "+
		"use a directory in it, or let the administrator add %q to the mounts of profile %s", u.hole.name, root, entry, c.profile.Name)
}

// pidFiles lists the pid files that the process must write.
func (c *choice) pidFiles() ([]File, *refusal) {
	const why = "it names the pid file"
	var files []File
	for _, entry := range c.profile.Ready.PIDFiles {
		u, given, refusal := c.once(entry, why)
		if refusal == nil && !given {
			u = c.key // what a template is made from
			if !isTemplate(entry) && c.profile.Ready.DefaultPIDFile == "" {
				_, refusal = c.required(entry, why)
			}
		}
		if refusal != nil {
			return nil, refusal
		}
		file, refusal := c.pidFile(entry, u, given)
		if refusal != nil {
			return nil, refusal
		}
		if slices.Contains(files, file) {
			return nil, refuse(u.index, u.rule.text, "another pid file has the same path")
		}
		files = append(files, file)
	}
	return files, nil
}

// pidFile returns the file of one entry of the profile's pid files.
func (c *choice) pidFile(entry string, u use, given bool) (File, *refusal) {
	switch {
	case given:
		at, refusal := c.locate(u)
		rel, _ := beneath(at.root, at.path)
		return File{Root: at.root, Path: rel}, refusal
	case isTemplate(entry):
		return c.file(entry)
	}
	return c.file(c.profile.Ready.DefaultPIDFile)
}

// file returns the file of a template.
func (c *choice) file(template string) (File, *refusal) {
	file, err := c.instance.expand(template)
	if err != nil {
		return file, refuse(c.key.index, c.key.rule.text, "%s: %v", template, err)
	}
	return file, nil
}

func (a *Agent) grants(profile string) bool { return slices.Contains(a.Profiles, profile) }
