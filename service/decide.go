package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// maxTimeout is the longest that a caller may ask a launch to take.
const maxTimeout = 10 * time.Minute

// job is a launch that has been decided: everything that its unit is made from.
type job struct {
	id       interfaces.ID
	decision *policy.Decision
	context  interfaces.Context
	mode     interfaces.LaunchMode
	timeout  time.Duration // of the unit's start
}

// decide answers a request: syntax, authorisation, policy, existence. It has no
// effect.
func (c *Core) decide(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (*job, error) {
	if err := checkSyntax(p); err != nil {
		return nil, err
	}
	if err := caller.authorise(); err != nil {
		return nil, err
	}
	agent, err := caller.agentFor(p.Agent)
	if err != nil {
		return nil, err
	}
	netns := p.NetworkNamespace
	if netns == nil {
		if netns, err = c.Namespaces.OfCaller(caller); err != nil {
			return nil, err
		}
	}
	decision, err := c.policy.Load().Decide(policy.Request{
		Agent: agent, Profile: p.Profile, Arguments: p.Arguments,
		NetworkNamespace: netns, ProcessTag: p.ProcessTag,
	})
	if err != nil {
		return nil, err
	}
	if netns != nil {
		if err := c.Namespaces.Check(*netns); err != nil {
			return nil, &interfaces.NoSuchNetworkNamespaceError{NetworkNamespace: netns, Reason: err.Error()}
		}
	}
	return newJob(agent, netns, p, decision), nil
}

func newJob(agent string, netns *string, p interfaces.LaunchParameters, decision *policy.Decision) *job {
	j := &job{
		id:       interfaces.NewID(agent, p.Profile, decision.Key),
		decision: decision,
		context: interfaces.Context{
			Profile: p.Profile, Arguments: p.Arguments, Agent: agent,
			NetworkNamespace: netns, ProcessTag: p.ProcessTag,
		},
		mode:    interfaces.ModeReplace,
		timeout: decision.Profile.Ready.Timeout,
	}
	if p.Mode != nil {
		j.mode = *p.Mode
	}
	if p.TimeoutUSec != nil {
		j.timeout = min(j.timeout, time.Duration(*p.TimeoutUSec)*time.Microsecond)
	}
	return j
}

// checkSyntax finds what is wrong with a request whoever sends it.
func checkSyntax(p interfaces.LaunchParameters) error {
	switch {
	case !interfaces.ValidName(p.Profile):
		return badName("profile", p.Profile)
	case p.Agent != nil && !interfaces.ValidName(*p.Agent):
		return badName("agent", *p.Agent)
	case p.Mode != nil && !slices.Contains(interfaces.LaunchModes, *p.Mode):
		return &interfaces.InvalidParameterError{Parameter: "mode", Reason: fmt.Sprintf("%.40q is none of %v", *p.Mode, interfaces.LaunchModes)}
	}
	return checkTimeout(p.TimeoutUSec)
}

func checkTimeout(usec *int64) error {
	if usec == nil || (*usec > 0 && *usec <= maxTimeout.Microseconds()) {
		return nil
	}
	return &interfaces.InvalidParameterError{
		Parameter: "timeoutUSec",
		Reason:    fmt.Sprintf("%d is not from 1 to %d (%v)", *usec, maxTimeout.Microseconds(), maxTimeout),
	}
}

func badName(parameter, name string) error {
	return &interfaces.InvalidParameterError{
		Parameter: parameter,
		Reason:    fmt.Sprintf("%.80q is not 1 to 32 of a-z, 0-9 and '-', not starting with '-'", name),
	}
}
