package service

import (
	"fmt"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/ociruntime"
	"tripleo.io/sidecar/service/policy"
)

// RuntimeChoice is the OCI runtime of a launch.
type RuntimeChoice struct {
	Path    string   // "": the engine's own
	Missing []string // the profile's runtimes, if the host has none of them and the engine's own is used
}

// chooseRuntime returns the first of the profile's OCI runtimes that the host has, and otherwise
// the engine's own.
func (c *Core) chooseRuntime(p *policy.Profile) (RuntimeChoice, error) {
	for _, name := range p.Runtimes {
		if path := c.Runtime(name); path != "" {
			return RuntimeChoice{Path: path}, nil
		}
	}
	if p.RuntimeRequired {
		return RuntimeChoice{}, noRuntime(p, p.Runtimes, ", and runtime-required forbids to use another one")
	}
	choice := RuntimeChoice{Missing: p.Runtimes}
	if p.Engine != interfaces.EngineRuntime {
		return choice, nil
	}
	if choice.Path = c.Runtime(ociruntime.Default); choice.Path == "" {
		return RuntimeChoice{}, noRuntime(p, append(p.Runtimes[:len(p.Runtimes):len(p.Runtimes)], ociruntime.Default),
			`, and engine = "runtime" needs one`)
	}
	return choice, nil
}

// noRuntime is the error of a launch for which the host lacks an OCI runtime.
func noRuntime(p *policy.Profile, names []string, why string) error {
	return &interfaces.HostFailureError{Reason: fmt.Sprintf(
		"profile %s: the host has none of the OCI runtimes %s in %s%s",
		p.Name, strings.Join(names, ", "), strings.Join(ociruntime.Directories, ", "), why)}
}
