package service

import (
	"context"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// admit makes room for one more sidecar of the agent or refuses it. The records
// of failed sidecars give way, the oldest first: they must not lock an agent out.
func (c *Core) admit(ctx context.Context, j *job) error {
	limit := j.decision.Agent.MaxSidecars
	list := func(ctx context.Context) ([]interfaces.ID, error) { return c.idsOf(ctx, j.id.Agent) }
	ok, err := c.limits.reserve(ctx, j.id, limit, list)
	if ok || err != nil {
		return err
	}
	if c.forgetFailed(ctx, j.id.Agent) {
		ok, err = c.limits.reserve(ctx, j.id, limit, list)
	}
	if !ok && err == nil {
		err = &interfaces.TooManySidecarsError{Limit: int64(limit)}
	}
	return err
}

func (c *Core) idsOf(ctx context.Context, agent string) ([]interfaces.ID, error) {
	units, err := c.listUnits(ctx, agent, unitsOf(agent))
	if err != nil {
		return nil, hostFailure(ctx, "list units", err)
	}
	var ids []interfaces.ID
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// forgetFailed removes the record of the agent's oldest failed sidecar, and
// reports whether there was one.
func (c *Core) forgetFailed(ctx context.Context, agent string) bool {
	units, err := c.listUnits(ctx, agent, unitsOf(agent))
	if err != nil {
		return false
	}
	slices.SortFunc(units, func(a, b systemd.Unit) int { return int(a.ExitedUSec) - int(b.ExitedUSec) })
	for _, u := range units {
		if id, ok := interfaces.ParseUnit(u.Name); ok && u.ActiveState == stateFailed && c.forgetIfFailed(ctx, id) {
			return true
		}
	}
	return false
}

// forgetIfFailed looks again under the sidecar's lock: it may have been launched
// anew since it was listed, or be about to.
func (c *Core) forgetIfFailed(ctx context.Context, id interfaces.ID) bool {
	if !c.locks.tryLock(id) {
		return false
	}
	defer c.locks.unlock(id)
	unit, err := c.Units.Get(ctx, id.Unit())
	if err != nil || unit.ActiveState != stateFailed {
		return false
	}
	_, err = c.Units.Stop(ctx, unit.Name, 0)
	return err == nil
}
