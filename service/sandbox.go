package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// A sandbox is a network namespace that the service has made for an agent. Its unit is the
// record of it: sidecar-namespace:AGENT.HASH.service, whose start makes the namespace and
// whose end removes it. So an agent deletes only what was made for it, and the number of units
// is the number of namespaces.

// sandboxTimeout bounds the start of a sandbox's unit.
const sandboxTimeout = 30 * time.Second

// CreateNamespace makes a network namespace for an agent.
func (c *Core) CreateNamespace(ctx context.Context, caller Caller, p interfaces.CreateNamespaceParameters) (interfaces.CreateNamespaceReply, error) {
	call := newCall(caller, "CreateNamespace", actionNamespace, p.Agent, "", p.AllowInteractiveAuthentication)
	err := c.operateSandbox(ctx, call, p.Agent, p.NetworkNamespace, func(ctx context.Context, agent *policy.Agent) error {
		return c.createNamespace(ctx, agent, p.NetworkNamespace)
	})
	c.record(call, err)
	return interfaces.CreateNamespaceReply{}, err
}

// DeleteNamespace deletes a network namespace that CreateNamespace has made for the agent.
func (c *Core) DeleteNamespace(ctx context.Context, caller Caller, p interfaces.DeleteNamespaceParameters) (interfaces.DeleteNamespaceReply, error) {
	call := newCall(caller, "DeleteNamespace", actionNamespace, p.Agent, "", p.AllowInteractiveAuthentication)
	err := c.operateSandbox(ctx, call, p.Agent, p.NetworkNamespace, func(ctx context.Context, agent *policy.Agent) error {
		return c.deleteNamespace(ctx, caller, agent, p)
	})
	c.record(call, err)
	return interfaces.DeleteNamespaceReply{}, err
}

// operateSandbox checks the syntax, has the caller authorised, decides by the policy, and calls
// do, for one sandbox of the agent at a time.
func (c *Core) operateSandbox(ctx context.Context, call *call, named *string, name string, do func(context.Context, *policy.Agent) error) error {
	if err := checkName("agent", named); err != nil {
		return err
	}
	if !policy.ValidNamespace(name) {
		return invalid("networkNamespace", fmt.Sprintf("%.300q is not the name of a network namespace: letters, digits and . _ - @ : + , = %% ~ #", name))
	}
	agentName, err := call.Caller.agentFor(named)
	if err != nil {
		return err
	}
	call.netns = &name
	if err := c.authorise(ctx, call); err != nil {
		return err
	}
	agent, err := c.policy.Load().DecideSandbox(agentName, name)
	if err != nil {
		return err
	}
	call.Agent = agentName
	return c.withSandboxes(ctx, agent, do)
}

// withSandboxes calls do while nobody else makes or deletes sandboxes of the agent.
func (c *Core) withSandboxes(ctx context.Context, agent *policy.Agent, do func(context.Context, *policy.Agent) error) error {
	ctx, cancel := context.WithTimeout(ctx, maxTimeout)
	defer cancel()
	if err := c.sandboxes.Acquire(ctx, agent.Name); err != nil {
		return waited(ctx, err)
	}
	defer c.sandboxes.Release(agent.Name, 1)
	return do(ctx, agent)
}

func (c *Core) createNamespace(ctx context.Context, agent *policy.Agent, name string) error {
	units, err := c.Units.List(ctx, document.SandboxUnit(agent.Name+".*"))
	if err != nil {
		return hostFailure(ctx, "list the namespaces of the agent", err)
	}
	unit := sandboxUnit(agent.Name, name)
	exists := slices.ContainsFunc(units, func(u systemd.Unit) bool { return u.Name == unit })
	switch {
	case exists, c.Namespaces.Check(Caller{Agent: agent.Name}, name) == nil:
		return &interfaces.NamespaceExistsError{NetworkNamespace: name}
	case len(units) >= agent.MaxNamespaces:
		return &interfaces.TooManyNamespacesError{Limit: int64(agent.MaxNamespaces)}
	}
	started, err := c.Units.Start(ctx, unit, c.sandboxProperties(agent.Name, name))
	if err == nil {
		return nil
	}
	if _, reason := launcher.ParseFailure(started.StatusText); reason != "" {
		err = errors.New(reason)
	}
	// Also for a caller that has hung up meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout+grace)
	defer cancel()
	if _, stopErr := c.Units.Stop(ctx, unit, 0); stopErr != nil && !errors.Is(stopErr, systemd.ErrNoSuchUnit) {
		c.Logger.Warn("a unit that failed stays", "unit", unit, "error", stopErr)
	}
	return hostFailure(ctx, "make the network namespace", err)
}

func (c *Core) deleteNamespace(ctx context.Context, caller Caller, agent *policy.Agent, p interfaces.DeleteNamespaceParameters) error {
	name := p.NetworkNamespace
	made, err := c.isSandbox(ctx, agent.Name, &name)
	if err != nil {
		return hostFailure(ctx, "list the namespaces of the agent", err)
	}
	if !made {
		return &interfaces.NoSuchNetworkNamespaceError{NetworkNamespace: &name, Reason: "CreateNamespace did not make it for this agent, so it is not deleted"}
	}
	if p.Force != nil && *p.Force {
		if err := c.stopAllIn(ctx, caller, agent.Name, p); err != nil {
			return err
		}
	}
	users, err := c.sidecarsIn(ctx, agent.Name, name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return &interfaces.NamespaceInUseError{NetworkNamespace: name, Sidecars: seenBy(caller, users)}
	}
	if _, err := c.Units.Stop(ctx, sandboxUnit(agent.Name, name), 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
		return hostFailure(ctx, "stop the unit of the network namespace", err)
	}
	return nil
}

// stopAllIn stops the agent's sidecars in the namespace. Sidecars of other agents go on, and keep it.
func (c *Core) stopAllIn(ctx context.Context, caller Caller, agent string, p interfaces.DeleteNamespaceParameters) error {
	users, err := c.sidecarsIn(ctx, agent, p.NetworkNamespace)
	if err != nil {
		return err
	}
	for _, id := range users {
		if id.Agent != agent {
			continue
		}
		_, err := c.Stop(ctx, caller, interfaces.StopParameters{ID: id.String(), AllowInteractiveAuthentication: p.AllowInteractiveAuthentication})
		if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			return err
		}
	}
	return nil
}

// sidecarsIn returns the sidecars of all agents that run in a network namespace, or wait for it.
func (c *Core) sidecarsIn(ctx context.Context, agent, name string) ([]interfaces.ID, error) {
	units, err := c.listUnits(ctx, agent, interfaces.UnitPattern)
	if err != nil {
		return nil, hostFailure(ctx, "list units", err)
	}
	var found []interfaces.ID
	for _, u := range c.withWaiting(units, interfaces.UnitPattern) {
		id, ok := interfaces.ParseUnit(u.Name)
		if ok && u.ActiveState != stateFailed && orEmpty(documentOf(u).context.NetworkNamespace) == name {
			found = append(found, id)
		}
	}
	return found, nil
}

// seenBy returns the IDs that exist for the caller.
func seenBy(caller Caller, ids []interfaces.ID) []string {
	seen := []string{}
	for _, id := range ids {
		if caller.sees(id.Agent) {
			seen = append(seen, id.String())
		}
	}
	return seen
}

// isSandbox reports whether the service has made the network namespace for the agent.
func (c *Core) isSandbox(ctx context.Context, agent string, name *string) (bool, error) {
	if name == nil {
		return false, nil
	}
	units, err := c.Units.List(ctx, sandboxUnit(agent, *name))
	return len(units) > 0, err
}

func sandboxUnit(agent, name string) string {
	return document.SandboxUnit(document.SandboxKey(agent, name))
}

// sandboxProperties returns the properties of a sandbox's unit. It stays active without a process. It is
// not in the agent's slice: at that slice's limits of tasks or memory, which payloads can reach,
// its end could not delete the namespace, and nobody would count or delete it any more.
func (c *Core) sandboxProperties(agent, name string) []systemd.Property {
	return []systemd.Property{
		systemd.String("Description", fmt.Sprintf("Network namespace %s of %s", name, agent)),
		systemd.String("Slice", "sidecar.slice"),
		systemd.Strings("Environment", launcher.SandboxVariable+"="+name, launcher.SandboxKeyVariable+"="+document.SandboxKey(agent, name)),
		systemd.String("SyslogIdentifier", "sidecar-namespace"),
		systemd.String("Type", "oneshot"),
		systemd.Bool("RemainAfterExit", true),
		systemd.String("NotifyAccess", "all"),
		systemd.ExecStart(c.Launcher, "create-namespace"),
		systemd.ExecStopPost([]string{c.Launcher, "delete-namespace"}),
		systemd.Duration("TimeoutStartUSec", sandboxTimeout),
		systemd.Duration("TimeoutStopUSec", stopTimeout),
	}
}
