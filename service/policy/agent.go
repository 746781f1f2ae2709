package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

const (
	defaultMaxSidecars = 1000
	mostSidecars       = 100_000
)

// parseAgent reads an agent's file. What is wrong goes into the report; the
// agent is then not to be used.
func parseAgent(r *report, name string, document []byte) *Agent {
	var raw rawAgent
	if !decode(r, document, &raw) {
		return nil
	}
	a := &Agent{
		Name:              name,
		Profiles:          r.granted(raw.Profiles),
		NetworkNamespaces: r.patterns(raw.NetworkNamespaces),
		HostNetwork:       raw.HostNetwork != nil && *raw.HostNetwork,
		StateDirectories:  r.stateDirectories(raw.StateDirectories),
		Subdirectories:    r.subdirectories(raw.Subdirectories, raw.StateDirectories),
		MaxSidecars:       defaultMaxSidecars,
		StandIns:          raw.StandIns != nil && *raw.StandIns,
		SpoolUser:         r.spoolUser(raw.SpoolUser),
		SidecarUser:       r.sidecarUser(raw.SidecarUser),
		SELinuxLevel:      r.level(name, raw.SELinuxLevel),
		LinkedNamespaces:  r.choice("linked-namespaces", raw.LinkedNamespaces, "warn", "check", "refuse"),
	}
	if raw.MaxSidecars != nil {
		a.MaxSidecars = int(r.number("max-sidecars", raw.MaxSidecars, 1, mostSidecars))
	}
	if a.HostNetwork {
		r.warnf("host-network", "sidecars of this agent may run in the host's own network")
	} else if len(a.NetworkNamespaces) == 0 {
		r.errorf("network-namespaces", `is missing: patterns such as "qdhcp-*"`)
	}
	return a
}

// spoolUser checks a user of the host. The last number is none: it is -1 to
// chown(2).
func (r *report) spoolUser(uid *int64) *uint32 {
	if uid == nil {
		return nil
	}
	user := uint32(r.number("spool-user", uid, 0, math.MaxUint32-1))
	return &user
}

func (r *report) granted(names []string) []string {
	if len(names) == 0 {
		r.errorf("profiles", "is missing: the profiles that the agent may launch")
	}
	for i, name := range names {
		switch {
		case !interfaces.ValidName(name):
			r.errorf(element("profiles", i), "%q is no profile's name: 1 to 32 of a-z, 0-9 and '-', not beginning with '-'", name)
		case slices.Contains(names[:i], name):
			r.errorf(element("profiles", i), "%s is there twice", name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

func (r *report) patterns(patterns []string) []string {
	for i, pattern := range patterns {
		key := element("network-namespaces", i)
		if reason := checkPattern(pattern); reason != "" {
			r.errorf(key, "%q: %s, and '*' for any of them", pattern, reason)
		} else if strings.Trim(pattern, "*") == "" {
			r.warnf(key, "%q allows every network namespace of the host", pattern)
		}
	}
	return patterns
}

func (r *report) stateDirectories(dirs []string) []string {
	if len(dirs) == 0 {
		r.errorf("state-directories", "is missing: the directories that the agent's paths may lie in")
	}
	for i, dir := range dirs {
		key := element("state-directories", i)
		reason := checkDirectory(dir)
		if reason == "" {
			reason = refuseDirectory(dir, true)
		}
		if reason != "" {
			r.errorf(key, "%q: %s", dir, reason)
			continue
		}
		for _, other := range dirs[:i] {
			if overlaps(dir, other) {
				r.errorf(key, "%s and %s overlap: name only one of them", other, dir)
			}
		}
		if dir == "/tmp" || dir == "/var/tmp" {
			r.warnf(key, "everybody on the host may write to %s", dir)
		}
	}
	return dirs
}

// AllowsNamespace reports whether the agent's sidecars may run in the network
// namespace, nil being the host's own: nil, an InvalidParameterError if it is no
// name at all, or a NamespaceNotAllowedError.
func (a *Agent) AllowsNamespace(name *string) error {
	if name == nil {
		if a.HostNetwork {
			return nil
		}
		return &interfaces.NamespaceNotAllowedError{Reason: "the agent's sidecars may not run in the host's own network; " + a.accepted()}
	}
	if reason := checkNamespace(*name); reason != "" {
		return &interfaces.InvalidParameterError{Parameter: "networkNamespace", Reason: fmt.Sprintf("%.300q: %s", *name, reason)}
	}
	if slices.ContainsFunc(a.NetworkNamespaces, func(pattern string) bool { return match(pattern, *name) }) {
		return nil
	}
	return &interfaces.NamespaceNotAllowedError{NetworkNamespace: name, Reason: "it is not the agent's; " + a.accepted()}
}

func (a *Agent) accepted() string {
	if len(a.NetworkNamespaces) == 0 {
		return "accepted is only the host's own"
	}
	return "accepted: " + strings.Join(a.NetworkNamespaces, ", ")
}
