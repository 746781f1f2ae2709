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
// nothing is. sidecar-launch checks where the path leads on the disk.
func checkPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "it must be absolute"
	case path.Clean(p) != p:
		return "it must be written without '.', '..', '//' and a '/' at its end: " + cut(path.Clean(p))
	case !isAll(p, isPathByte):
		return "it may contain only letters, digits and . _ : @ + -"
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

// beneath reports whether p lies in dir, at any depth, and returns p relative to
// dir. Both must be clean.
func beneath(dir, p string) (string, bool) {
	rest, ok := strings.CutPrefix(p, dir+"/")
	return rest, ok && rest != ""
}

// within reports whether p is dir or lies in it.
func within(dir, p string) bool {
	_, below := beneath(dir, p)
	return below || p == dir
}

// overlaps reports whether one of the two directories is the other or contains it.
func overlaps(a, b string) bool { return within(a, b) || within(b, a) }

var (
	// runtimeTrees belong to the running host; nothing in them may be handed out. An
	// agent's own directory below /run is fine.
	runtimeTrees = []string{
		"/boot", "/dev", "/efi", "/proc", "/root", "/sys", "/var/run", "/run/containers", "/run/crio", "/run/dbus",
		"/run/docker", "/run/lock", "/run/netns", "/run/podman", "/run/sidecar", "/run/systemd", "/run/udev",
		"/run/user", "/var/lib/containers", "/var/lib/dbus", "/var/lib/docker", "/var/lib/kubelet",
		"/var/lib/polkit-1", "/var/lib/sidecar", "/var/lib/systemd",
	}
	// systemTrees are the host's programs and configuration: a profile may mount parts of
	// them for reading, but an agent cannot own anything in them.
	systemTrees = []string{"/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr"}
	// broadDirectories contain the directories of many owners.
	broadDirectories = []string{
		"/", "/home", "/media", "/mnt", "/opt", "/run", "/srv", "/var", "/var/cache", "/var/lib", "/var/lock", "/var/log",
		"/var/mail", "/var/opt", "/var/spool",
	}
)

// refuseDirectory says why a directory must not be handed out, for writing or only
// for reading, and returns "" if it may be.
func refuseDirectory(dir string, writable bool) string {
	trees := runtimeTrees
	if writable {
		trees = slices.Concat(trees, systemTrees)
	}
	for _, tree := range trees {
		if within(tree, dir) {
			return "nothing in " + tree + " may be handed out"
		}
	}
	if slices.Contains(broadDirectories, dir) || slices.Contains(systemTrees, dir) {
		return dir + " is too broad: name a directory below it"
	}
	return ""
}
