package main

import (
	"fmt"

	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/spool/drain"
)

// prepare makes the spool of an agent whose file says that it has one.
func prepare(o options, agent string) error {
	set, err := policy.Load(o.vendorDirectory, o.hostDirectory)
	if err != nil {
		return fmt.Errorf("policy files (sidecarctl check shows the same):\n%w", err)
	}
	a, ok := set.Agent(agent)
	switch {
	case !ok:
		return fmt.Errorf("there is no agent %s: it has no file in agents.d", agent)
	case a.SpoolUser == nil:
		return fmt.Errorf("agent %s has no spool: its file has no spool-user", agent)
	}
	return drain.Prepare(o.directory, agent, *a.SpoolUser)
}
