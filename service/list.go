package service

import (
	"cmp"
	"context"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// List returns the sidecars that the selectors match and the caller may see,
// sorted by ID. If none matches it returns ErrNoSuchSidecar.
//
// The journal has refusals and what polkit allowed. Answers to agents and root are not
// recorded: they change nothing, and monitoring asks all the time.
func (c *Core) List(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	var units []systemd.Unit
	err := untilNotMoved(func() (err error) {
		units, err = c.listAuthorised(ctx, caller, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	images := c.Images()
	var found []interfaces.Sidecar
	for _, u := range units {
		id, ok := interfaces.ParseUnit(u.Name)
		if !ok || !caller.sees(id.Agent) {
			continue
		}
		s := c.sidecar(u, images)
		if !matches(id, s, p) {
			continue
		}
		if p.Usage != nil && *p.Usage && s.Runtime.ProcessID != nil {
			s.Runtime.Usage = c.Usage(u.Name, int(*s.Runtime.ProcessID))
		}
		found = append(found, s)
	}
	if len(found) == 0 {
		return nil, &interfaces.NoSuchSidecarError{ID: p.ID}
	}
	return found, nil
}

// listAuthorised returns the units that the selectors may match, if the caller may see them.
func (c *Core) listAuthorised(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]systemd.Unit, error) {
	call := newCall(caller, "List", actionInspect, p.Agent, orEmpty(p.Profile), p.AllowInteractiveAuthentication)
	call.netns = p.NetworkNamespace
	id, err := checkSelectors(p)
	if p.ID != nil && id != (interfaces.ID{}) && caller.sees(id.Agent) {
		call.setSidecar(id)
	}
	if err == nil {
		err = c.authorise(ctx, call)
	}
	c.recordInspection(call, err)
	if err != nil {
		return nil, err
	}
	if p.ID == nil {
		return c.listUnitsOf(ctx, caller.Agent)
	}
	// Not Get, which would read all properties of the unit: each stand-in asks every 5 s.
	units, err := c.Units.List(ctx, id.Unit())
	if err != nil {
		return nil, hostFailure(ctx, "read the unit", err)
	}
	if len(units) == 0 {
		return nil, nil
	}
	if err = c.checkNamespace(call, units[0]); err != nil {
		c.record(call, err)
	}
	return units, err
}

// recordInspection records a call that only reads if it was refused or polkit was asked.
func (c *Core) recordInspection(call *call, err error) {
	if err != nil || call.Authorisation.By == ByPolkit {
		c.record(call, err)
	}
}

// listUnitsOf reads the units of an agent's sidecars, of all agents for "".
func (c *Core) listUnitsOf(ctx context.Context, agent string) ([]systemd.Unit, error) {
	units, err := c.listUnits(ctx, agent, unitsOf(agent))
	if err != nil {
		return nil, hostFailure(ctx, "list units", err)
	}
	return units, nil
}

// listUnits lists units, a bounded number of times at once: when many callers ask, the first
// call reads the details of every unit, and the others find them in the cache. Otherwise
// starts would wait for all the reading. agent is the caller's, for its share of the bound.
func (c *Core) listUnits(ctx context.Context, agent, pattern string) ([]systemd.Unit, error) {
	if err := c.lists.Acquire(ctx, agent); err != nil {
		return nil, err
	}
	defer c.lists.Release(agent, 1)
	return c.Units.List(ctx, pattern)
}

// unitsOf matches the units of one agent's sidecars, of all agents for "". Agents' names
// hold no character that is special in fnmatch(3).
func unitsOf(agent string) string {
	return interfaces.ID{Agent: cmp.Or(agent, "*"), Profile: "*", Hash: "*"}.Unit()
}

func matches(id interfaces.ID, s interfaces.Sidecar, p interfaces.ListParameters) bool {
	switch {
	case p.Agent != nil && *p.Agent != id.Agent, p.Profile != nil && *p.Profile != id.Profile:
		return false
	case p.NetworkNamespace == nil:
		return true
	}
	return s.Context != nil && s.Context.NetworkNamespace != nil && *s.Context.NetworkNamespace == *p.NetworkNamespace
}

// checkSelectors returns the ID that p names, also if another selector is invalid.
func checkSelectors(p interfaces.ListParameters) (id interfaces.ID, err error) {
	if p.ID != nil {
		if id, err = parseID(*p.ID); err != nil {
			return id, err
		}
	}
	return id, cmp.Or(checkName("agent", p.Agent), checkName("profile", p.Profile))
}

// ListProfiles returns the profiles that the agent may launch. A caller on the host's socket
// that names no agent gets all profiles. Without a profile the error is ErrNoSuchProfile.
func (c *Core) ListProfiles(ctx context.Context, caller Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error) {
	call := newCall(caller, "ListProfiles", actionInspect, p.Agent, "", p.AllowInteractiveAuthentication)
	granted, err := c.granted(ctx, call, p.Agent)
	c.recordInspection(call, err)
	if err != nil {
		return nil, err
	}
	if len(granted) == 0 {
		return nil, &interfaces.NoSuchProfileError{Profile: "*"}
	}
	var profiles []interfaces.Profile
	for _, g := range granted {
		profiles = append(profiles, g.Describe())
	}
	return profiles, nil
}

func (c *Core) granted(ctx context.Context, call *call, named *string) ([]*policy.Profile, error) {
	if err := checkName("agent", named); err != nil {
		return nil, err
	}
	if err := c.authorise(ctx, call); err != nil {
		return nil, err
	}
	set := c.policy.Load()
	if named == nil && call.Caller.Agent == "" {
		return set.Profiles(), nil
	}
	agent, err := call.Caller.agentFor(named)
	if err != nil {
		return nil, err
	}
	if _, ok := set.Agent(agent); !ok {
		return nil, &interfaces.NoSuchAgentError{Agent: agent}
	}
	return set.Granted(agent), nil
}

// Explain says what Launch would do with the same parameters, or why it would
// refuse them. Nothing is started.
func (c *Core) Explain(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.ExplainReply, error) {
	call := newCall(caller, "Explain", actionInspect, p.Agent, p.Profile, p.AllowInteractiveAuthentication)
	a, err := c.decide(ctx, call, p)
	c.record(call, err)
	if err != nil {
		return interfaces.ExplainReply{}, err
	}
	reply := interfaces.ExplainReply{
		ID:      a.id.String(),
		Unit:    a.id.Unit(),
		Image:   a.decision.Profile.Image,
		Command: slices.Concat(a.decision.Profile.Command, p.Arguments),
		Rules:   a.decision.Rules,

		EngineCommand: a.engine.Command(a.document),
	}
	fields, err := a.document.Fields()
	if err != nil {
		return interfaces.ExplainReply{}, err
	}
	for _, field := range fields {
		reply.Document = append(reply.Document, interfaces.UnitProperty{Name: field[0], Value: field[1]})
	}
	for _, property := range a.properties {
		reply.Properties = append(reply.Properties, interfaces.UnitProperty{
			Name: property.Name, Value: systemd.Format(property),
		})
	}
	return reply, nil
}
