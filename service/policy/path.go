package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	maxPath      = 4095 // PATH_MAX of linux/limits.h without the final NUL
	maxComponent = 255  // NAME_MAX of linux/limits.h
)

// checkPath says what is wrong with an absolute path as text, and returns "" if
// nothing is. Where it leads to on the disk is sidecar-launch's business.
func checkPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "it must be absolute"
	case path.Clean(p) != p:
		return "it must be written without '.', '..', '//' and a '/' at its end: " + cut(path.Clean(p))
	case !isAll(p, isPathByte):
		return "it may have only letters, digits and . _ : @ + - in it"
	case len(p) > maxPath:
		return fmt.Sprintf("it is longer than %d bytes", maxPath)
	}
	for component := range strings.SplitSeq(p, "/") {
		if len(component) > maxComponent {
			return fmt.Sprintf("a part of it is longer than %d bytes", maxComponent)
		}
	}
	return ""
}

// checkDirectory is checkPath for what is mounted: a ':' would end a mount's
// source in the container engine's own notation.
func checkDirectory(p string) string {
	if strings.Contains(p, ":") {
		return "a directory that is mounted may have no ':' in its path"
	}
	return checkPath(p)
}

// beneath reports whether p lies in dir, at any depth, and returns the rest.
// Both must be clean.
func beneath(dir, p string) (string, bool) {
	rest, ok := strings.CutPrefix(p, dir+"/")
	return rest, ok && rest != ""
}

// overlaps reports whether one of the two directories is the other or contains it.
func overlaps(a, b string) bool {
	_, ab := beneath(a, b)
	_, ba := beneath(b, a)
	return a == b || ab || ba
}

// runtimeTrees are directories that belong to the host's own running; nothing in
// them may be handed out. An agent's own directory below /run is fine.
func runtimeTrees() []string {
	return []string{
		"/boot", "/dev", "/efi", "/proc", "/root", "/sys", "/var/run", "/run/containers", "/run/crio", "/run/dbus",
		"/run/docker", "/run/lock", "/run/netns", "/run/podman", "/run/sidecar", "/run/systemd", "/run/udev",
		"/run/user", "/var/lib/containers", "/var/lib/dbus", "/var/lib/docker", "/var/lib/kubelet",
		"/var/lib/polkit-1", "/var/lib/sidecar", "/var/lib/systemd",
	}
}

// systemTrees are what the host is made of: root may hand them out for reading,
// but an agent cannot own anything in them.
func systemTrees() []string {
	return []string{"/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr"}
}

// broadDirectories hold what is none of an agent's business.
func broadDirectories() []string {
	return []string{
		"/", "/home", "/media", "/mnt", "/opt", "/run", "/srv", "/var", "/var/cache", "/var/lib", "/var/lock", "/var/log",
		"/var/mail", "/var/opt", "/var/spool",
	}
}

// refuseDirectory says why a directory must not be handed out, for writing or
// only for reading, and returns "" if it may.
func refuseDirectory(dir string, writable bool) string {
	trees := runtimeTrees()
	broad := append(broadDirectories(), systemTrees()...)
	if writable {
		trees = append(trees, systemTrees()...)
	}
	for _, tree := range trees {
		if _, inside := beneath(tree, dir); inside || dir == tree {
			return "nothing in " + tree + " may be handed out"
		}
	}
	if slices.Contains(broad, dir) {
		return dir + " is too broad: name a directory below it"
	}
	return ""
}
