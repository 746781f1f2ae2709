package service

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// SliceOf returns the slice of an agent's sidecars, which nothing else is in.
func SliceOf(agent string) string { return "sidecar-" + agent + ".slice" }

// groupLimit is a limit of a control group, as a property of its unit.
type groupLimit struct {
	set      bool
	property systemd.Property // of a limit that is not set: the value that removes it
	dropIn   string           // name of its file in the unit's directory of drop-ins
}

// limitsOf returns the limits of a control group as properties.
func limitsOf(l policy.Limits) []groupLimit {
	const usecPerPercent = 10_000 // of one second
	none := ^uint64(0)
	var all []groupLimit
	for _, one := range []struct {
		name, setting string
		value         uint64
	}{
		{"MemoryMax", "MemoryMax", l.MemoryMax},
		{"TasksMax", "TasksMax", l.TasksMax},
		{"CPUWeight", "CPUWeight", l.CPUWeight},
		{"CPUQuotaPerSecUSec", "CPUQuota", l.CPUMax * usecPerPercent},
	} {
		set := one.value != 0
		if !set {
			one.value = none
		}
		all = append(all, groupLimit{set, systemd.Uint64(one.name, one.value), "50-" + one.setting + ".conf"})
	}
	return all
}

// agentSlices are the limits that the slices of agents have. systemd keeps them in drop-ins
// until the host boots again, also for slices that it has not loaded.
type agentSlices struct {
	turn chan struct{} // has an element while limits are set

	mu   sync.Mutex
	have map[string]policy.Limits // by agent
}

func newAgentSlices() *agentSlices {
	return &agentSlices{turn: make(chan struct{}, 1), have: map[string]policy.Limits{}}
}

// has reports whether the agent's slice is known to have these limits.
func (s *agentSlices) has(agent *policy.Agent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, known := s.have[agent.Name]
	return known && have == agent.Limits
}

// LimitAgents gives the slices of all agents the limits of the policy. What fails is tried
// again by the agent's next launch.
func (c *Core) LimitAgents(ctx context.Context) {
	for _, agent := range c.policy.Load().Agents() {
		if err := c.limitAgent(ctx, agent.Name); err != nil && ctx.Err() == nil {
			c.Logger.Error("the limits of an agent are not in force; its next launch tries again", "agent", agent.Name, "error", err)
		}
	}
}

// limitAgent gives the agent's slice the limits of the policy, and takes away limits that it
// has had from an earlier policy.
func (c *Core) limitAgent(ctx context.Context, name string) error {
	agent, ok := c.policy.Load().Agent(name)
	if !ok || c.slices.has(agent) {
		return nil
	}
	select {
	case c.slices.turn <- struct{}{}:
		defer func() { <-c.slices.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// The policy may have changed meanwhile, and others have set its limits.
	if agent, ok = c.policy.Load().Agent(name); !ok || c.slices.has(agent) {
		return nil
	}
	if err := c.setLimits(ctx, agent); err != nil {
		return hostFailure(ctx, "set the limits of agent "+name, err)
	}
	c.slices.mu.Lock()
	defer c.slices.mu.Unlock()
	c.slices.have[name] = agent.Limits
	return nil
}

func (c *Core) setLimits(ctx context.Context, agent *policy.Agent) error {
	slice := SliceOf(agent.Name)
	var properties []systemd.Property
	for _, limit := range limitsOf(agent.Limits) {
		_, err := os.Stat(filepath.Join(c.DropIns, slice+".d", limit.dropIn))
		if limit.set || err == nil {
			properties = append(properties, limit.property)
		}
	}
	if len(properties) == 0 {
		return nil
	}
	return c.Units.SetProperties(ctx, slice, properties)
}
