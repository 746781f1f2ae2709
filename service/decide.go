package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// A caller may give a launch from minTimeout to maxTimeout. A shorter one would
	// stop what runs and never see the new sidecar ready.
	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
	// A payload's entries in the journal beyond logBurst in logInterval are counted
	// instead of kept. journald raises that by the free disk space, some three times on
	// common disks (RateLimitIntervalSec= in journald.conf(5)). It is enough for a
	// hundred machines that get their addresses at once, with --log-dhcp.
	logInterval = 30 * time.Second
	logBurst    = 1000
	// maxAfter bounds the units that a unit is ordered after: each has its name in the unit's
	// file, below /run.
	maxAfter = 100
)

// attempt is a launch that policy allows: everything that its unit is made from, and how far
// the launch is.
type attempt struct {
	call     *call
	id       interfaces.ID
	decision *policy.Decision
	runtime  RuntimeChoice
	context  interfaces.Context
	mode     interfaces.LaunchMode
	replaces *string       // invocation ID of the run that it replaces; nil: any or none
	timeout  time.Duration // of the unit's start
	asked    *int64        // the caller's time-out
	sandbox  bool          // the service made the network namespace

	document   *document.Document // of the unit
	engine     engine.Engine      // of the document
	after      []string           // units that are started before it, and stopped afterwards
	properties []systemd.Property // of the unit

	preparation *document.Document // of the unit that prepares the image; nil: the engine needs none
	unprepared  error              // why the image could not be prepared

	interruption *interruption
	held         []func()     // give back what the launch has taken
	old          bool         // there is a unit to replace
	begun        bool         // the start has begun, and may have made a unit
	err          error        // of the start
	started      time.Time    // when the start began
	failed       systemd.Unit // the unit that failed to start
}

// decide checks the syntax, has the caller authorised, decides by the policy, and makes the
// unit's properties. It has no effect.
func (c *Core) decide(ctx context.Context, call *call, p interfaces.LaunchParameters) (*attempt, error) {
	if err := checkSyntax(p); err != nil {
		return nil, err
	}
	agent, err := call.Caller.agentFor(p.Agent)
	if err != nil {
		return nil, err
	}
	call.netns = p.NetworkNamespace
	var namespaceErr error // is told only to callers that are authorised
	if call.netns == nil && !call.restores {
		call.netns, namespaceErr = c.Namespaces.OfCaller(call.Caller)
	}
	if err := c.authorise(ctx, call); err != nil {
		return nil, err
	}
	if namespaceErr != nil {
		return nil, namespaceErr
	}
	decision, err := c.policy.Load().Decide(policy.Request{
		Agent: agent, Profile: p.Profile, Arguments: p.Arguments,
		NetworkNamespace: call.netns, ProcessTag: p.ProcessTag,
	})
	if err != nil {
		return nil, err
	}
	call.Engine = decision.Profile.Engine
	if err := c.checkExists(call); err != nil {
		return nil, err
	}
	a := newAttempt(call, agent, p, decision)
	if a.runtime, err = c.chooseRuntime(decision.Profile); err != nil {
		return nil, err
	}
	if err := c.makeDocument(a); err != nil {
		return nil, err
	}
	if a.after, err = c.unitsBefore(ctx, a); err != nil {
		return nil, err
	}
	if a.properties, err = c.properties(a); err != nil {
		return nil, err
	}
	call.setSidecar(a.id)
	call.Runtime = &a.runtime
	return a, nil
}

func checkSyntax(p interfaces.LaunchParameters) error {
	if err := cmp.Or(checkName("profile", &p.Profile), checkName("agent", p.Agent)); err != nil {
		return err
	}
	if p.Mode != nil && !slices.Contains(interfaces.LaunchModes, *p.Mode) {
		return invalid("mode", fmt.Sprintf("%.40q is not one of %v", *p.Mode, interfaces.LaunchModes))
	}
	if p.Replaces != nil && (p.Mode == nil || *p.Mode != interfaces.ModeReplace) {
		return invalid("replaces", "it needs the mode replace")
	}
	return checkTimeout(p.TimeoutUSec, minTimeout, maxTimeout)
}

// checkExists checks that the call's network namespace exists.
func (c *Core) checkExists(call *call) error {
	if call.netns == nil {
		return nil
	}
	err := c.Namespaces.Check(call.Caller, *call.netns)
	if err == nil || errors.Is(err, interfaces.ErrHostFailure) {
		return err
	}
	return &interfaces.NoSuchNetworkNamespaceError{NetworkNamespace: call.netns, Reason: err.Error()}
}

func newAttempt(call *call, agent string, p interfaces.LaunchParameters, decision *policy.Decision) *attempt {
	ready := decision.Profile.Ready.Timeout
	return &attempt{
		call:     call,
		id:       interfaces.NewID(agent, p.Profile, decision.Key),
		decision: decision,
		context: interfaces.Context{
			Profile: p.Profile, Arguments: p.Arguments, Agent: agent,
			NetworkNamespace: call.netns, ProcessTag: p.ProcessTag,
		},
		mode:     modeOf(p.Mode, decision.Agent),
		replaces: p.Replaces,
		timeout:  min(ready, duration(p.TimeoutUSec, ready)),
		asked:    p.TimeoutUSec,

		interruption: newInterruption(call.netns),
	}
}

// makeDocument makes the documents of the unit and of the image's preparation.
func (c *Core) makeDocument(a *attempt) (err error) {
	a.document = c.newDocument(a)
	if a.engine, err = engine.Of(a.document.Engine); err != nil {
		return err
	}
	if a.preparation = a.engine.Preparation(a.document, c.Podman); a.preparation != nil {
		a.document.Template = a.preparation.Template
	}
	return nil
}

// newDocument returns the document of the unit.
func (c *Core) newDocument(a *attempt) *document.Document {
	decision, profile := a.decision, a.decision.Profile
	plan := document.Plan{
		ID: a.id.String(), Engine: profile.Engine, Program: c.Podman, Runtime: a.runtime.Path,
		Image: profile.Image, Command: profile.Command,
		Environment: profile.EnvironmentOf(decision.User), User: decision.User.UID, Group: decision.User.GID,
		Capabilities: profile.Capabilities, PIDNamespace: profile.PIDNamespace,
		Seccomp: c.filter(profile.Seccomp), Tmpfs: decision.Tmpfs(),
		Mounts: decision.Mounts, Configuration: decision.Configuration,
		OpenFiles: profile.FilesMax, OOMScore: profile.OOMScoreAdjust,
		PIDFiles: decision.PIDFiles, Socket: decision.Socket, TimeoutUSec: a.timeout.Microseconds(),
		Health: decision.Health,
	}
	if profile.Engine == interfaces.EngineRuntime {
		plan.Program = plan.Runtime
	}
	if profile.Daemonizes {
		plan.Init = filepath.Join(filepath.Dir(c.Launcher), "sidecar-init")
	}
	if _, err := os.Stat(c.Syslog); err == nil && profile.Syslog { // a host without journald's socket does without
		plan.Syslog = c.Syslog
	}
	if a.context.NetworkNamespace != nil && slices.Contains(profile.Capabilities, "NET_ADMIN") {
		plan.Links = &document.Links{Action: decision.Agent.LinkedNamespaces, Own: decision.Agent.NetworkNamespaces}
	}
	host := c.Confinement()
	if host.AppArmor.Wanted() {
		plan.AppArmor = lsm.Profile
	}
	if host.SELinux.On {
		plan.SELinuxLevel = decision.Agent.SELinuxLevel
	}
	if host.SELinux.Labelled {
		plan.SELinuxType = lsm.PayloadType
	}
	return document.New(a.context, decision.Arguments, plan)
}

// filter returns the path of the filter of system calls, "" for the engine's own.
func (c *Core) filter(choice string) string {
	switch choice {
	case policy.SeccompDefault:
		return ""
	case "":
		return c.Seccomp
	case policy.SeccompNetfilter:
		return SeccompNetfilter(c.Seccomp)
	}
	return choice
}

// SeccompNetfilter returns the path of the filter that lets NETLINK_NETFILTER through,
// too: it lies beside the service's own.
func SeccompNetfilter(own string) string { return strings.TrimSuffix(own, ".json") + "-netfilter.json" }

// properties returns the properties of the unit, as in org.freedesktop.systemd1(5). systemd 252
// knows them all.
func (c *Core) properties(a *attempt) ([]systemd.Property, error) {
	environment, err := a.document.Encode()
	if _, ok := errors.AsType[*document.TooLongError](err); ok {
		return nil, invalid("arguments", err.Error())
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat(identity(a, environment), order(a), c.lifecycle(a), restarts(a.decision), resources(a.decision.Profile), probing(a)), nil
}

// unitsBefore returns the units that the profile comes after: units of the same agent and network
// namespace that exist.
func (c *Core) unitsBefore(ctx context.Context, a *attempt) ([]string, error) {
	var names []string
	for _, profile := range a.decision.Profile.After {
		units, err := c.listUnits(ctx, a.id.Agent, interfaces.ID{Agent: a.id.Agent, Profile: profile, Hash: "*"}.Unit())
		if err != nil {
			return nil, hostFailure(ctx, "list the units that it comes after", err)
		}
		for _, u := range units {
			if d := documentOf(u); d.ok && orEmpty(d.context.NetworkNamespace) == orEmpty(a.context.NetworkNamespace) {
				names = append(names, u.Name)
			}
		}
	}
	return names[:min(len(names), maxAfter)], nil
}

// order makes systemd stop the unit before those that it comes after, when the host is shut
// down. Not Wants=: a transient unit that has ended cannot be started again by its name.
func order(a *attempt) []systemd.Property {
	if len(a.after) == 0 {
		return nil
	}
	return []systemd.Property{systemd.Strings("After", a.after...)}
}

// identity is what people and tools see of the unit.
func identity(a *attempt, environment []string) []systemd.Property {
	return []systemd.Property{
		systemd.String("Description", fmt.Sprintf("%s for %s: %s", a.context.Profile, a.context.Agent, printable(a.decision.Key))),
		systemd.String("Slice", SliceOf(a.id.Agent)),
		systemd.Strings("Environment", environment...),
		systemd.String("SyslogIdentifier", a.id.String()), // journal.Output finds lines by it
		// A "<0>" on standard output would be an emergency, which journald shows on every
		// terminal of the host. (By syslog(3) a payload can still do that, see SECURITY.md.)
		systemd.Bool("SyslogLevelPrefix", false),
		// One payload must not push the decisions and everything else out of the journal.
		// journald's own limit is ten times this.
		systemd.Duration("LogRateLimitIntervalUSec", logInterval),
		systemd.Uint32("LogRateLimitBurst", logBurst),
		systemd.LogExtraFields("AGENT="+a.id.Agent, "PROFILE="+a.id.Profile, "SIDECAR_ID="+a.id.String()),
	}
}

// lifecycle is how the unit starts, becomes ready, ends and is cleaned up.
// sidecar-launch says READY=1 when the sidecar is ready, so the start job ends then,
// and a restart by systemd waits for the same.
func (c *Core) lifecycle(a *attempt) []systemd.Property {
	return []systemd.Property{
		systemd.String("Type", "notify"),
		systemd.String("NotifyAccess", "all"),
		group(a.engine),
		systemd.String("KillMode", "mixed"),
		systemd.ExecStart(c.Launcher, "exec"),
		systemd.ExecStopPost([]string{c.Launcher, "clean"}),
		// A kill from outside is a stop, not a failure. systemd itself counts all of these but
		// SIGKILL as one (systemd.service(5)).
		systemd.SuccessExitStatus(a.engine.Stopped()),
		systemd.String("OOMPolicy", "stop"),
		systemd.Duration("TimeoutStartUSec", a.timeout),
		systemd.Duration("TimeoutStopUSec", stopTimeout),
	}
}

// restarts says which ends systemd repairs: what it counts as failures, which a kill from outside
// is not (SuccessExitStatus=). "always" adds exit code 0, and is not systemd's own "always",
// which would start again what was killed. The number of starts in an interval is the number of
// restarts and the launch's own.
//
// Sidecars of an agent that has stand-ins are not restarted: the agent's stand-in ends with the
// sidecar, and the pid file would have the host's number, which may be another process there.
func restarts(d *policy.Decision) []systemd.Property {
	r := d.Profile.Restart
	if r.When == policy.RestartNo || d.Agent.StandIns {
		return []systemd.Property{systemd.String("Restart", policy.RestartNo)}
	}
	properties := []systemd.Property{
		systemd.String("Restart", policy.RestartOnFailure),
		systemd.Duration("RestartUSec", r.Delay),
		systemd.Duration("StartLimitIntervalUSec", r.Interval),
		systemd.Uint32("StartLimitBurst", uint32(r.Limit+1)),
	}
	if r.When == policy.RestartAlways {
		properties = append(properties, systemd.RestartForceExitStatus([]int32{0}, nil))
	}
	return properties
}

// group is the property for the payload's control group. In one of its own, below the unit's,
// the engine restricts the payload's devices; in the unit's, systemd allows only harmless ones,
// such as /dev/null (systemd.resource-control(5)).
func group(e engine.Engine) systemd.Property {
	if e.Delegates() {
		return systemd.Bool("Delegate", true)
	}
	return systemd.String("DevicePolicy", "closed")
}

// probing returns the properties of a unit whose payload is probed. The command of a probe has a
// control group of its own below the unit's. The prober asks for a restart as a watchdog would,
// but instead of SIGABRT the payload gets the signal of a stop, and 5 s (TimeoutStopUSec).
func probing(a *attempt) (properties []systemd.Property) {
	health := a.document.Health
	if health != nil && health.Command != nil && !a.engine.Delegates() {
		properties = append(properties, systemd.Bool("Delegate", true))
	}
	if health != nil && health.Restart {
		properties = append(properties, systemd.Int32("WatchdogSignal", int32(unix.SIGTERM)))
	}
	return properties
}

// resources are the limits of the profile. The payload's control
// group lies below the unit's, so they hold for it.
func resources(p *policy.Profile) []systemd.Property {
	var properties []systemd.Property
	for _, limit := range limitsOf(p.Limits) {
		if limit.set {
			properties = append(properties, limit.property)
		}
	}
	if p.OOMScoreAdjust != nil {
		properties = append(properties, systemd.Int32("OOMScoreAdjust", int32(*p.OOMScoreAdjust)))
	}
	return properties
}

// printable cuts a text to fit in one line of systemctl's output.
func printable(s string) string {
	if len(s) > 100 {
		s = "…" + strings.ToValidUTF8(s[len(s)-100:], "")
	}
	return s
}
