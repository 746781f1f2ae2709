package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tripleo.io/sidecar/service/document"
)

// mounts maps the places of mounts in the container to them. Until [mounts.list], Given says
// that an argument names a file in the directory, or the directory itself.
type mounts map[string]document.Mount

// add adds a mount. Two mounts with the same place become one: writable if one of them
// is, optional if both are. It returns a reason to refuse the mount if only one of them
// is private, otherwise "".
func (m mounts) add(mount document.Mount) string {
	place := mount.Place()
	if old, ok := m[place]; ok {
		if mount.Private != old.Private {
			return "the process sees an empty directory of its own in place of " + place +
				", so no other file in it can be used: put the file into another directory"
		}
		mount.Writable = mount.Writable || old.Writable
		mount.Optional = mount.Optional && old.Optional
		mount.Given = mount.Given || old.Given
	}
	m[place] = mount
	return ""
}

// list returns the mounts by place, each directory before the directories in it. The launch
// makes a directory writable for the sidecar's group (Given) if an argument names it, and
// the sidecar writes to the host's directory.
func (m mounts) list() []document.Mount {
	list := sorted(m)
	for i, mount := range list {
		list[i].Given = mount.Given && mount.Writable && !mount.Private
	}
	return list
}

// ProfileMount is a directory that a profile mounts besides the directories of
// its path holes.
type ProfileMount struct {
	State    bool   // Path is relative to the instance's state directory
	Path     string // "." is the state directory itself
	Writable bool
	Private  bool   // the container has an empty directory of its own there
	Optional bool   // it may be missing
	Target   string // where the container sees a fixed path; "": at the same path
}

const stateHole = "{state}"

// parseMount reads a mount of a profile: "{state}:ro", "{state}/sub:rw",
// "{state}/sub:private", "/fixed/path:ro" or "/fixed/path:/in/the/container:ro", after a
// '-' if it may be missing.
func parseMount(s string) (ProfileMount, error) {
	var m ProfileMount
	rest, optional := strings.CutPrefix(s, "-")
	end := strings.LastIndexByte(rest, ':')
	source, access := rest[:max(end, 0)], rest[end+1:]
	if end < 0 || access != "ro" && access != "rw" && access != "private" {
		return m, fmt.Errorf("%q must end in :ro, :rw or :private", s)
	}
	m = ProfileMount{Writable: access != "ro", Private: access == "private", Optional: optional, Path: source}
	if sub, ok := strings.CutPrefix(source, stateHole); ok {
		m.State, m.Path = true, "."
		if sub == "" {
			return m, nil
		}
		if reason := checkDirectory(sub); reason != "" {
			return m, fmt.Errorf("%q: what follows %s: %s", s, stateHole, reason)
		}
		m.Path = sub[1:]
		return m, nil
	}
	if m.Private {
		return m, fmt.Errorf("%q: only a directory of %s can be private", s, stateHole)
	}
	if from, to, ok := strings.Cut(source, ":"); ok {
		source, m.Path, m.Target = from, from, to
		if reason := checkTarget(to); reason != "" {
			return m, fmt.Errorf("%q: the path in the container: %s", s, reason)
		}
	}
	if reason := checkDirectory(source); reason != "" {
		return m, fmt.Errorf("%q: %s; it begins with %s or is a fixed path", s, reason, stateHole)
	}
	if reason := refuseDirectory(source, m.Writable); reason != "" {
		return m, fmt.Errorf("%q: %s", s, reason)
	}
	return m, nil
}

// place returns the path in the container, or for a part of the state directory its
// path in there.
func (m ProfileMount) place() string { return cmp.Or(m.Target, m.Path) }

// checkTarget says what is wrong with the path of a mount in the container, and returns
// "" if nothing is.
func checkTarget(target string) string {
	if reason := checkDirectory(target); reason != "" {
		return reason
	}
	for _, tree := range []string{"/", "/dev", "/proc", "/sys"} {
		if target == tree || tree != "/" && within(tree, target) {
			return "nothing may be mounted on or in " + tree
		}
	}
	return ""
}

// canWrite reports whether the profile's own mounts make a directory, relative
// to the state directory, writable: the deepest mount around it decides.
func (p *Profile) canWrite(dir string) bool {
	deepest, writable := -1, false
	for _, m := range p.Mounts {
		depth := len(strings.TrimPrefix(m.Path, "."))
		if m.State && (within(m.Path, dir) || m.Path == ".") && depth > deepest {
			deepest, writable = depth, m.Writable
		}
	}
	return writable
}

func (r *report) mounts(entries []string) []ProfileMount {
	var list []ProfileMount
	seen := map[string]bool{}
	if len(entries) > document.MaxMounts-1 { // at least one is left for the instance
		r.errorf("mounts", "has %d entries, %d are accepted", len(entries), document.MaxMounts-1)
	}
	for i, entry := range entries {
		m, err := parseMount(entry)
		if err != nil {
			r.errorf(element("mounts", i), "%v", err)
			continue
		}
		if seen[m.place()] {
			r.errorf(element("mounts", i), "%q is listed twice", entry)
		}
		if !m.State && m.Writable {
			r.warnf(element("mounts", i), "every sidecar of this profile may write to %s", m.Path)
		}
		seen[m.place()] = true
		list = append(list, m)
	}
	return list
}

// tmpfs checks the directories that are empty and writable in the container. The
// program, the usual places of programs and libraries, and the kernel's own file
// systems cannot be in them.
func (r *report) tmpfs(dirs, command []string) []string {
	const key, most = "tmpfs", 8
	if len(dirs) > most {
		r.errorf(key, "has %d entries, %d are accepted", len(dirs), most)
	}
	fixed := []string{"", "bin", "dev", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr"}
	for i, dir := range dirs {
		reason := checkDirectory(dir)
		top, _, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
		if reason == "" && slices.Contains(fixed, top) {
			reason = "nothing in /" + top + " may be replaced; name a directory such as /run or /tmp"
		}
		if reason == "" && len(command) > 0 && strings.HasPrefix(command[0], dir+"/") {
			reason = "the program " + command[0] + " lies in it"
		}
		if reason != "" {
			r.errorf(element(key, i), "%q: %s", dir, reason)
			continue
		}
		r.apart(key, dirs, i)
	}
	return dirs
}

// Tmpfs returns the directories that are empty and writable in the container: the
// profile's, without those that a mount of this launch covers.
func (d *Decision) Tmpfs() []string {
	return slices.DeleteFunc(slices.Clone(d.Profile.Tmpfs), func(dir string) bool {
		return slices.ContainsFunc(d.Mounts, func(m document.Mount) bool { return within(m.Place(), dir) })
	})
}
