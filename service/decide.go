package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// A caller may give a launch from minTimeout to maxTimeout. A shorter one would
// stop what runs and never see the new one ready.
const (
	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
)

// job is a launch that has been decided: everything that its unit is made from.
type job struct {
	id       interfaces.ID
	caller   Caller // who asked for it, and may have gone since
	about    subject
	decision *policy.Decision
	context  interfaces.Context
	mode     interfaces.LaunchMode
	timeout  time.Duration // of the unit's start

	document   *document.Document // of the unit
	engine     engine.Engine      // of the document
	properties []systemd.Property // of the unit
	old        bool               // there is a unit to replace
	begun      bool               // the start has begun, and may have made a unit
	started    time.Time          // when the start began
	failed     string             // invocation of the unit that failed to start, if one did
	result     string             // systemd's, of that unit

	interruption *interruption
}

// decide answers a request: syntax, authorisation for the action, policy,
// existence. It has no effect. What the call is about it tells with an error too.
func (c *Core) decide(ctx context.Context, caller Caller, action string, p interfaces.LaunchParameters) (*job, subject, error) {
	about := claimed(caller, p.Agent, p.Profile)
	if err := checkSyntax(p); err != nil {
		return nil, about, err
	}
	agent, err := caller.agentFor(p.Agent)
	if err != nil {
		return nil, about, err
	}
	netns, lost := c.namespaceFor(caller, p)
	about.by, err = c.authorise(ctx, caller, &question{
		action: action, about: about, netns: netns, interactive: p.AllowInteractiveAuthentication,
	})
	if err == nil {
		err = lost
	}
	if err != nil {
		return nil, about, err
	}
	j, err := c.plan(caller, agent, netns, p)
	if err != nil {
		return nil, about, err
	}
	j.caller, j.about.by, j.about.netns = caller, about.by, netns
	return j, j.about, nil
}

// namespaceFor is the network namespace that is asked for, or else the caller's
// own; nil is the host's.
func (c *Core) namespaceFor(caller Caller, p interfaces.LaunchParameters) (*string, error) {
	if p.NetworkNamespace != nil {
		return p.NetworkNamespace, nil
	}
	return c.Namespaces.OfCaller(caller)
}

// plan decides by the policy, looks whether the namespace exists, and makes the
// job.
func (c *Core) plan(caller Caller, agent string, netns *string, p interfaces.LaunchParameters) (*job, error) {
	decision, err := c.policy.Load().Decide(policy.Request{
		Agent: agent, Profile: p.Profile, Arguments: p.Arguments,
		NetworkNamespace: netns, ProcessTag: p.ProcessTag,
	})
	if err != nil {
		return nil, err
	}
	if netns != nil {
		if err := c.Namespaces.Check(caller, *netns); errors.Is(err, interfaces.ErrHostFailure) {
			return nil, err
		} else if err != nil {
			return nil, &interfaces.NoSuchNetworkNamespaceError{NetworkNamespace: netns, Reason: err.Error()}
		}
	}
	j := newJob(agent, netns, p, decision)
	j.document = c.newDocument(j)
	if j.engine, err = engine.Of(j.document.Engine); err != nil {
		return nil, err
	}
	j.properties, err = c.properties(j)
	return j, err
}

func newJob(agent string, netns *string, p interfaces.LaunchParameters, decision *policy.Decision) *job {
	id := interfaces.NewID(agent, p.Profile, decision.Key)
	j := &job{
		id:       id,
		about:    subjectOf(id),
		decision: decision,
		context: interfaces.Context{
			Profile: p.Profile, Arguments: p.Arguments, Agent: agent,
			NetworkNamespace: netns, ProcessTag: p.ProcessTag,
		},
		mode:    modeOf(p.Mode, decision.Agent),
		timeout: decision.Profile.Ready.Timeout,

		interruption: newInterruption(netns),
	}
	if p.TimeoutUSec != nil {
		j.timeout = min(j.timeout, microseconds(*p.TimeoutUSec))
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
	if p.TimeoutUSec == nil {
		return nil
	}
	return checkTimeout(*p.TimeoutUSec, minTimeout, maxTimeout)
}

func checkTimeout(usec int64, shortest, longest time.Duration) error {
	if usec >= shortest.Microseconds() && usec <= longest.Microseconds() {
		return nil
	}
	return &interfaces.InvalidParameterError{
		Parameter: "timeoutUSec",
		Reason:    fmt.Sprintf("%d is not from %d (%v) to %d (%v)", usec, shortest.Microseconds(), shortest, longest.Microseconds(), longest),
	}
}

func badName(parameter, name string) error {
	return &interfaces.InvalidParameterError{
		Parameter: parameter,
		Reason:    fmt.Sprintf("%.80q is not 1 to 32 of a-z, 0-9 and '-', not starting with '-'", name),
	}
}
