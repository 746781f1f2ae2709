package document

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Mount is a directory or file of the host that the container sees. A private mount is a small
// file system, empty at first, in place of the directory of its path: except for the numbers
// in pid files, nothing that the payload writes there gets out.
type Mount struct {
	Root     string `json:"root,omitempty"`     // state directory of the agent, absolute; "" is a fixed path of the host
	Path     string `json:"path"`               // beneath Root, "." for Root itself; absolute when Root is ""
	Target   string `json:"target,omitempty"`   // where the container sees a fixed path; "": at the same path; needs Root to be ""
	Writable bool   `json:"writable,omitempty"` // else the pin is read-only
	Private  bool   `json:"private,omitempty"`  // needs Root; the directory must exist all the same
	Optional bool   `json:"optional,omitempty"` // if it does not exist, an empty read-only directory takes its place
	Given    bool   `json:"given,omitempty"`    // the payload's group may write to it and the files in it, if they are root's; needs Writable, and not Private
}

func (m Mount) String() string {
	if m.Root == "" {
		return m.Path
	}
	return m.Root + "/" + m.Path
}

// Place returns the absolute path at which the container sees the mount: Target, or else the
// path of the host.
func (m Mount) Place() string {
	if m.Target != "" {
		return m.Target
	}
	return path.Join(m.Root, m.Path)
}

func (m Mount) contains(other Mount) bool {
	return strings.HasPrefix(other.Place(), m.Place()+"/")
}

// Outermost returns the outermost mount in which the i-th mount lies, or i. Only an outermost
// mount has a pin of its own, in which the others are mounted: an engine that mounted them
// itself would look for their mount points in a directory that an agent can change meanwhile,
// and could be led to the container's /etc or /dev.
func (p Plan) Outermost(i int) int {
	outer := i
	for k, m := range p.Mounts {
		if m.contains(p.Mounts[i]) && m.contains(p.Mounts[outer]) {
			outer = k
		}
	}
	return outer
}

// Innermost returns the innermost mount in which a path lies, and false if it lies in none.
func (p Plan) Innermost(target string) (int, bool) {
	inner := -1
	for k, m := range p.Mounts {
		if strings.HasPrefix(target, m.Place()+"/") && (inner < 0 || len(m.Place()) > len(p.Mounts[inner].Place())) {
			inner = k
		}
	}
	return inner, inner >= 0
}

// Within returns the path of a target in the i-th mount, relative to the directory of the
// mounts' pins.
func (p Plan) Within(i int, target string) string {
	outer := p.Outermost(i)
	return strconv.Itoa(outer) + strings.TrimPrefix(target, p.Mounts[outer].Place())
}

// Nested lists the mounts that lie in other mounts, outer mounts first.
func (p Plan) Nested() []int {
	var all []int
	for i := range p.Mounts {
		if p.Outermost(i) != i {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(i, k int) int { return len(p.Mounts[i].Place()) - len(p.Mounts[k].Place()) })
	return all
}

// PinsDirectory holds one directory of pins for each unit that is being launched.
const PinsDirectory = "/run/sidecar/launch"

// Pins returns the directory that holds the pins of a unit.
func Pins(id string) string { return PinsDirectory + "/" + id }

// NetworkNamespacePath returns the path of the pinned network namespace. It exists only if the
// document names a network namespace.
func NetworkNamespacePath(id string) string { return Pins(id) + "/netns" }

// MountPath returns the path of the pin of the i-th mount, counted from 0. It exists only for
// mounts that are their own [Plan.Outermost].
func MountPath(id string, i int) string { return Pins(id) + "/mounts/" + strconv.Itoa(i) }

// An engine may make a directory of files for its commands beside the pins of a unit, and
// mount the container's root there, and what it mounts that from. All are removed with the pins.
const (
	BundleName = "bundle"
	RootName   = "rootfs"
	PointsName = "points"
)

// PreparationName returns the name of the unit that prepares an image, without its suffix, and of
// podman's container in it. It is not the name of a sidecar's unit.
func PreparationName(id string) string { return "sidecar-prepare-" + strings.ReplaceAll(id, ".", "-") }

// groupOptions are how the names of OCI runtimes begin that can leave a container in the control
// group that they run in, each with the option for that. Others, such as runc, make a group
// outside the unit, where its limits do not hold.
var groupOptions = []struct{ name, option string }{
	{"crun", "--cgroup-manager=disabled"}, {"krun", "--cgroup-manager=disabled"}, {"runsc", "--ignore-cgroups"},
}

// OwnGroupOption returns the option with which an OCI runtime leaves a container in its own
// control group, "" if none is known. program is the runtime's name or path.
func OwnGroupOption(program string) string {
	for _, known := range groupOptions {
		if strings.HasPrefix(path.Base(program), known.name) {
			return known.option
		}
	}
	return ""
}
