package policy

import (
	"slices"
	"strings"
)

// maxTmpfs is how many a profile may have.
const maxTmpfs = 8

// tmpfs checks the directories that a profile's sidecars have for themselves. The profile's
// program, the usual places of programs and libraries, and the kernel's own file systems
// cannot be among them.
func (r *report) tmpfs(dirs, command []string) []string {
	const key = "tmpfs"
	if len(dirs) > maxTmpfs {
		r.errorf(key, "has %d entries, %d are accepted", len(dirs), maxTmpfs)
	}
	for i, dir := range dirs {
		reason := checkDirectory(dir)
		if top, _, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/"); slices.Contains([]string{"", "bin", "dev", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr"}, top) && reason == "" {
			reason = "nothing in /" + top + " may be replaced; it is a directory such as /run or /tmp"
		}
		if reason == "" && len(command) > 0 {
			if _, inside := beneath(dir, command[0]); inside {
				reason = "the program " + command[0] + " lies in it"
			}
		}
		if reason != "" {
			r.errorf(element(key, i), "%q: %s", dir, reason)
			continue
		}
		for _, other := range dirs[:i] {
			if overlaps(dir, other) {
				r.errorf(element(key, i), "%s and %s overlap: name only one of them", other, dir)
			}
		}
	}
	return dirs
}

// Tmpfs returns the directories that the container has for itself: the profile's but those
// that are a directory of the host in this launch, or lie in one.
func (d *Decision) Tmpfs() []string {
	return slices.DeleteFunc(slices.Clone(d.Profile.Tmpfs), func(dir string) bool {
		return slices.ContainsFunc(d.Mounts, func(m Mount) bool {
			_, inside := beneath(m.Target, dir)
			return inside || m.Target == dir
		})
	})
}
