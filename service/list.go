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
// What is refused is in the journal. What is answered is not: it changes nothing,
// and monitoring asks all the time.
func (c *Core) List(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	err := checkSelectors(p)
	if err == nil {
		err = caller.authorise()
	}
	if err != nil {
		c.note(caller, "List", claimed(caller, p.Agent, ""), err)
		return nil, err
	}
	units, err := c.selected(ctx, caller, p)
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

// selected asks systemd for as little as the selectors allow.
func (c *Core) selected(ctx context.Context, caller Caller, p interfaces.ListParameters) ([]systemd.Unit, error) {
	if p.ID != nil {
		id, _ := interfaces.ParseID(*p.ID)
		unit, err := c.Units.Get(ctx, id.Unit())
		if errors.Is(err, systemd.ErrNoSuchUnit) {
			return nil, nil
		}
		if err != nil {
			return nil, hostFailure(ctx, "read the unit", err)
		}
		return []systemd.Unit{unit}, nil
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
	if err := c.lists.acquire(ctx, agent); err != nil {
		return nil, err
	}
	defer c.lists.release(agent)
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
// a caller on the host's socket that names none.
func (c *Core) ListProfiles(_ context.Context, caller Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error) {
	granted, err := c.granted(caller, p.Agent)
	if err != nil {
		c.note(caller, "ListProfiles", claimed(caller, p.Agent, ""), err)
		return nil, err
	}
	var profiles []interfaces.Profile
	for _, g := range granted {
		profiles = append(profiles, g.Describe())
	}
	return profiles, nil
}

func (c *Core) granted(caller Caller, named *string) ([]*policy.Profile, error) {
	if named != nil && !interfaces.ValidName(*named) {
		return nil, badName("agent", *named)
	}
	if err := caller.authorise(); err != nil {
		return nil, err
	}
	set := c.policy.Load()
	if named == nil && caller.Agent == "" {
		return set.Profiles(), nil
	}
	agent, err := caller.agentFor(named)
	if err != nil {
		return nil, err
	}
	if _, ok := set.Agent(agent); !ok {
		return nil, &interfaces.NoSuchAgentError{Agent: agent}
	}
	return set.Granted(agent), nil
}
