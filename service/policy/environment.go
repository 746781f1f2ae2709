package policy

import (
	"slices"
	"strconv"
	"strings"
)

// ownVariables are set by the service.
var ownVariables = []string{"PROCESS_TAG", "SIDECAR_COMMAND"}

// environment checks the variables of a profile's processes.
func (r *report) environment(assignments []string) []string {
	var names []string
	for i, assignment := range assignments {
		key := element("environment", i)
		name, value, ok := strings.Cut(assignment, "=")
		switch reason := checkText(value); {
		case !ok || !isVariable(name):
			r.errorf(key, "%q is not NAME=value, NAME being of A-Z, 0-9 and '_', not beginning with a digit", assignment)
		case reason != "":
			r.errorf(key, "%s", reason)
		case slices.Contains(ownVariables, name):
			r.errorf(key, "%s is set by the service", name)
		case slices.Contains(names, name):
			r.errorf(key, "%s is there twice", name)
		}
		names = append(names, name)
	}
	return assignments
}

func isVariable(name string) bool {
	return name != "" && !isDigit(name[0]) && isAll(name, func(c byte) bool { return isDigit(c) || 'A' <= c && c <= 'Z' || c == '_' })
}

// EnvironmentOf returns the variables of a process that runs as this user, each as
// NAME=value.
func (p *Profile) EnvironmentOf(u User) []string {
	numbers := strings.NewReplacer("{uid}", strconv.FormatUint(uint64(u.UID), 10), "{gid}", strconv.FormatUint(uint64(u.GID), 10))
	var assignments []string
	for _, assignment := range p.Environment {
		assignments = append(assignments, numbers.Replace(assignment))
	}
	return assignments
}
