package launch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Base is the directory that holds one directory for each unit being launched.
const Base = "/run/sidecar/launch"

// Kinds of pid namespaces a payload can have.
const (
	Private = "private" // its own: the numbers in its pid files are translated
	Host    = "host"    // the host's: they are only checked
)

// Plan is what a unit prepares before its program starts, and what it waits
// for afterwards.
type Plan struct {
	ID               string  `json:"id"`                         // AGENT.PROFILE.HASH, hash 12 hexadecimal digits
	NetworkNamespace string  `json:"networkNamespace,omitempty"` // name below /run/netns; "" is the host's own
	Mounts           []Mount `json:"mounts,omitempty"`           // Mounts[i] is pinned on MountPath(ID, i), or within another
	PIDFiles         []File  `json:"pidFiles,omitempty"`         // ready when each holds a process; the first is the main one
	Socket           *File   `json:"socket,omitempty"`           // ready when it accepts connections
	User             uint32  `json:"user"`                       // of the host, that the payload runs as
	Group            uint32  `json:"group"`                      // its group
	PIDNamespace     string  `json:"pidNamespace"`               // Private or Host
	Daemonizes       bool    `json:"daemonizes,omitempty"`       // the first process is sidecar-init; needs Private
	TimeoutUSec      int64   `json:"timeoutUSec,omitempty"`      // the unit's TimeoutStartUSec; 0 is none
	Links            *Links  `json:"links,omitempty"`            // nil: the payload cannot reach through links

	Configuration *Configuration `json:"configuration,omitempty"` // what a configuration is looked through for before the start
}

// Configuration is a configuration file of the payload, and what it must and must not hold.
type Configuration struct {
	File    File              `json:"file"`
	Refused map[string]string `json:"refused,omitempty"` // words that no line may begin with, each with the reason
	PIDFile string            `json:"pidFile,omitempty"` // word of the line that names the first pid file; "": none has to
}

// Mount is a directory that the container gets to see. A private one is a small
// file system of its own, empty at first, in place of the directory of that path:
// what the payload writes there stays there, but for pid files ([Ready]).
type Mount struct {
	Root     string `json:"root,omitempty"`     // state directory of the agent, absolute; "" is a fixed path of the host
	Path     string `json:"path"`               // beneath Root, "." for Root itself; absolute when Root is ""
	Target   string `json:"target,omitempty"`   // where the container sees a fixed path, "": at the same path; needs no Root
	Writable bool   `json:"writable,omitempty"` // else the pin is read-only
	Private  bool   `json:"private,omitempty"`  // needs Root; the directory must exist all the same
	Optional bool   `json:"optional,omitempty"` // when missing, an empty read-only directory stands in for it
	Given    bool   `json:"given,omitempty"`    // the payload's group may write to it and the files in it, if they are root's; needs Writable, and not Private
}

// File is a file that the payload makes.
type File struct {
	Root string `json:"root"` // state directory of the agent, absolute
	Path string `json:"path"` // beneath Root
}

func (f File) String() string { return f.Root + "/" + f.Path }

func (m Mount) String() string {
	if m.Root == "" {
		return m.Path
	}
	return m.Root + "/" + m.Path
}

// profile returns the name of the profile, the identifier of its lines in the journal.
func (p Plan) profile() string { return strings.Split(p.ID, ".")[1] }

// unit returns the name of the unit.
func (p Plan) unit() string { return "sidecar-" + p.ID + ".service" }

// Directory returns the directory that holds the pins of a unit.
func Directory(id string) string { return Base + "/" + id }

// NetworkNamespacePath returns the path of the pinned network namespace. It
// exists only when the plan names one.
func NetworkNamespacePath(id string) string { return Directory(id) + "/netns" }

// Outermost returns which mount the i-th lies in: i itself or, if its path lies
// in that of others, the outermost of those. Only an outermost mount has a pin of
// its own, and that one brings those in it along: an engine that mounted them
// itself would look for their mount points in a directory that an agent can
// change meanwhile, and could be led to the container's /etc or /dev.
func (p Plan) Outermost(i int) int {
	outer := i
	for k, m := range p.Mounts {
		if m.contains(p.Mounts[i]) && m.contains(p.Mounts[outer]) {
			outer = k
		}
	}
	return outer
}

// innermost returns the mount that a path lies in most closely, and false if it
// lies in none.
func (p Plan) innermost(target string) (int, bool) {
	inner := -1
	for k, m := range p.Mounts {
		if strings.HasPrefix(target, m.target()+"/") && (inner < 0 || len(m.target()) > len(p.Mounts[inner].target())) {
			inner = k
		}
	}
	return inner, inner >= 0
}

// within returns where a path that lies in the i-th mount is, relative to the
// directory of all pins.
func (p Plan) within(i int, target string) string {
	outer := p.Outermost(i)
	return strconv.Itoa(outer) + strings.TrimPrefix(target, p.Mounts[outer].target())
}

// nested lists the mounts that lie in others, each after those that it lies in.
func (p Plan) nested() []int {
	var all []int
	for i := range p.Mounts {
		if p.Outermost(i) != i {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(i, k int) int { return len(p.Mounts[i].target()) - len(p.Mounts[k].target()) })
	return all
}

// target is where the container sees the mount: where it is on the host.
func (m Mount) target() string {
	if m.Target != "" {
		return m.Target
	}
	return path.Join(m.Root, m.Path)
}

func (m Mount) contains(other Mount) bool { return strings.HasPrefix(other.target(), m.target()+"/") }

// MountPath returns the path of the i-th mount source's pin, counted from 0. It
// exists only for mounts that are their own [Plan.Outermost].
func MountPath(id string, i int) string { return Directory(id) + "/mounts/" + strconv.Itoa(i) }

// Encode returns the plan as the argument that the program takes. It fails for
// a plan that [Plan.Validate] refuses.
func Encode(p Plan) (string, error) {
	if err := p.Validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is read by people, in systemctl status
	if err := e.Encode(p); err != nil {
		return "", fmt.Errorf("plan: %v", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Decode reads what [Encode] wrote. Unknown fields, anything after the plan
// and what [Plan.Validate] refuses are errors.
func Decode(s string) (Plan, error) {
	var p Plan
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("plan: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Plan{}, fmt.Errorf("plan: something follows it")
	}
	return p, p.Validate()
}
