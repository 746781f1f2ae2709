package service

import (
	"context"
	"errors"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// List returns the sidecars that the selectors leave and the caller may see,
// sorted by ID. If there are none it returns ErrNoSuchSidecar.
//
// What is refused is in the journal. What is answered to agents and root is not: it
// changes nothing, and monitoring asks all the time.
func (c *Core) List(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	var units []systemd.Unit
	err := whereverItIs(func() (err error) {
		units, err = c.inspected(ctx, caller, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	var found []interfaces.Sidecar
	for _, u := range units {
		id, ok := interfaces.ParseUnit(u.Name)
		if !ok || !caller.sees(id.Agent) {
			continue
		}
		if s := c.sidecar(u); matches(id, s, p) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, &interfaces.NoSuchSidecarError{ID: p.ID}
	}
	return found, nil
}

// inspected returns the units that the selectors may leave, if the caller may see them.
func (c *Core) inspected(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]systemd.Unit, error) {
	err := checkSelectors(p)
	q := inspection(caller, p)
	if err == nil {
		q.about.by, err = c.authorise(ctx, caller, &q)
		q.about.netns = q.netns
	}
	c.noteInspection(caller, "List", q.about, err)
	if err != nil {
		return nil, err
	}
	units, err := c.selected(ctx, caller, q.about, p)
	if errors.Is(err, errMoved) {
		c.note(caller, "List", q.about, err)
	}
	return units, err
}

// inspection is the question whether the caller may see what the selectors leave.
func inspection(caller Caller, p interfaces.ListParameters) question {
	q := question{
		action: actionInspect, about: claimed(caller, p.Agent, text(p.Profile)), netns: p.NetworkNamespace,
		interactive: p.AllowInteractiveAuthentication,
	}
	if p.ID == nil {
		return q
	}
	if id, err := interfaces.ParseID(*p.ID); err == nil && caller.sees(id.Agent) {
		q.about, q.recorded = subjectOf(id), &id
	}
	return q
}

// noteInspection writes what was refused, or what polkit was asked.
func (c *Core) noteInspection(caller Caller, method string, s subject, err error) {
	if err != nil || s.by.By == ByPolkit {
		c.note(caller, method, s, err)
	}
}

// selected asks systemd for as little as the selectors allow.
func (c *Core) selected(ctx context.Context, caller Caller, about subject, p interfaces.ListParameters) ([]systemd.Unit, error) {
	if p.ID != nil {
		id, _ := interfaces.ParseID(*p.ID)
		// Not Get, which would read all properties of the unit: each stand-in asks every 5 s.
		units, err := c.Units.List(ctx, id.Unit())
		if err != nil {
			return nil, hostFailure(ctx, "read the unit", err)
		}
		if len(units) == 0 {
			return nil, nil
		}
		return units, c.sameAsTold(about, units[0])
	}
	pattern := interfaces.UnitPattern
	if caller.Agent != "" {
		pattern = unitsOf(caller.Agent)
	}
	units, err := c.listUnits(ctx, caller.Agent, pattern)
	if err != nil {
		return nil, hostFailure(ctx, "list units", err)
	}
	return units, nil
}

// listUnits lists units for a caller on the agent's socket, a bounded number of
// times at once: when many ask, the first reads the details of every unit, and the
// others find them read instead of doing the same. Starts would wait for it all.
func (c *Core) listUnits(ctx context.Context, agent, pattern string) ([]systemd.Unit, error) {
	if err := c.lists.Acquire(ctx, agent); err != nil {
		return nil, err
	}
	defer c.lists.Release(agent, 1)
	return c.Units.List(ctx, pattern)
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

func checkSelectors(p interfaces.ListParameters) error {
	if p.ID != nil {
		if _, err := interfaces.ParseID(*p.ID); err != nil {
			return &interfaces.InvalidParameterError{Parameter: "id", Reason: err.Error()}
		}
	}
	if p.Agent != nil && !interfaces.ValidName(*p.Agent) {
		return badName("agent", *p.Agent)
	}
	if p.Profile != nil && !interfaces.ValidName(*p.Profile) {
		return badName("profile", *p.Profile)
	}
	return nil
}

// ListProfiles returns the profiles that the agent may launch, or all of them for
// a caller on the host's socket that names none. If there are none it returns
// ErrNoSuchProfile.
func (c *Core) ListProfiles(ctx context.Context, caller Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error) {
	granted, about, err := c.granted(ctx, caller, p)
	c.noteInspection(caller, "ListProfiles", about, err)
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

func (c *Core) granted(ctx context.Context, caller Caller, p interfaces.ListProfilesParameters) ([]*policy.Profile, subject, error) {
	about := claimed(caller, p.Agent, "")
	if p.Agent != nil && !interfaces.ValidName(*p.Agent) {
		return nil, about, badName("agent", *p.Agent)
	}
	var err error
	about.by, err = c.authorise(ctx, caller, &question{
		action: actionInspect, about: about, interactive: p.AllowInteractiveAuthentication,
	})
	if err != nil {
		return nil, about, err
	}
	set := c.policy.Load()
	if p.Agent == nil && caller.Agent == "" {
		return set.Profiles(), about, nil
	}
	agent, err := caller.agentFor(p.Agent)
	if err != nil {
		return nil, about, err
	}
	if _, ok := set.Agent(agent); !ok {
		return nil, about, &interfaces.NoSuchAgentError{Agent: agent}
	}
	return set.Granted(agent), about, nil
}
