package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"tripleo.io/sidecar/interfaces"
)

const (
	maxNamespace = 255 // bytes; NAME_MAX of Linux
	maxTag       = 512 // bytes; Neutron's longest has about 100
)

// ValidNamespace reports whether an agent's file can grant a network namespace of
// this name. The kernel allows more names, see service/netns.
func ValidNamespace(name string) bool { return checkNamespace(name) == "" }

// checkNamespace says what is wrong with the name of a network namespace, and
// returns "" if nothing is. A good name is safe as a file's name, in patterns and in
// a log line.
func checkNamespace(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxNamespace:
		return fmt.Sprintf("it is longer than %d bytes", maxNamespace)
	case s == "." || s == "..":
		return "it would be a directory"
	}
	accepts := isNameByte.or("@:+,=%~#")
	for _, c := range s {
		if c > unicode.MaxASCII || !accepts(byte(c)) {
			return fmt.Sprintf("it contains %q; only letters, digits and . _ - @ : + , = %% ~ # are accepted", c)
		}
	}
	return ""
}

// checkPattern is checkNamespace for a pattern, in which '*' stands for any number
// of characters.
func checkPattern(pattern string) string {
	if pattern != "" && strings.Trim(pattern, "*") == "" {
		return "" // every namespace, which is worth a warning
	}
	return checkNamespace(strings.ReplaceAll(pattern, "*", "_"))
}

// match reports whether a good name fits a good pattern. They have none of
// path.Match's other special characters.
func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (r *report) patterns(list string, patterns []string) []string {
	for i, pattern := range patterns {
		key := element(list, i)
		if reason := checkPattern(pattern); reason != "" {
			r.errorf(key, "%q: %s; '*' stands for any number of characters", pattern, reason)
		} else if strings.Trim(pattern, "*") == "" {
			r.warnf(key, "%q allows every network namespace of the host", pattern)
		}
	}
	return patterns
}

// allowsNamespace returns a NamespaceNotAllowedError if the agent's sidecars may not
// run in a network namespace with a good name; nil is the host's own namespace.
func (a *Agent) allowsNamespace(name *string) error {
	accepted := "accepted: " + strings.Join(a.NetworkNamespaces, ", ")
	if len(a.NetworkNamespaces) == 0 {
		accepted = "accepted: only the host's own"
	}
	switch {
	case name == nil && a.HostNetwork:
		return nil
	case name == nil:
		return &interfaces.NamespaceNotAllowedError{Reason: "the agent's sidecars may not run in the host's own network; " + accepted}
	case slices.ContainsFunc(a.NetworkNamespaces, func(pattern string) bool { return match(pattern, *name) }):
		return nil
	}
	return &interfaces.NamespaceNotAllowedError{NetworkNamespace: name, Reason: "it is not the agent's; " + accepted}
}

// DecideSandbox accepts a network namespace that an agent wants to have made or deleted. The name
// must be valid. Its errors are NoSuchAgentError and NamespaceNotAllowedError.
func (s *Set) DecideSandbox(agent, name string) (*Agent, error) {
	a, ok := s.agents[agent]
	if !ok {
		return nil, &interfaces.NoSuchAgentError{Agent: agent}
	}
	if err := a.allowsNamespace(&name); err != nil { // its sidecars could not run there
		return nil, err
	}
	if slices.ContainsFunc(a.CreateNamespaces, func(pattern string) bool { return match(pattern, name) }) {
		return a, nil
	}
	reason := "the agent may not have namespaces made"
	if len(a.CreateNamespaces) > 0 {
		reason = "the agent may have only these made and deleted: " + strings.Join(a.CreateNamespaces, ", ")
	}
	return nil, &interfaces.NamespaceNotAllowedError{NetworkNamespace: &name, Reason: reason}
}

// checkTag says what is wrong with a process tag. Neutron makes it of a service and
// an identifier, which can contain '/' and ':'; the process sees it in its
// environment.
func checkTag(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxTag:
		return fmt.Sprintf("it is longer than %d bytes", maxTag)
	}
	return checkText(s)
}
