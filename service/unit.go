package service

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launch"
	"tripleo.io/sidecar/service/systemd"
)

// successStatus are the exit codes of a payload that was told to end: 128 plus
// SIGHUP, SIGINT, SIGKILL and SIGTERM. A foreign kill is a stop, not a failure; of
// these systemd itself takes all but SIGKILL for one (systemd.service(5)).
var successStatus = []int32{129, 130, 137, 143}

// A payload's entries in the journal beyond logBurst in logInterval are counted
// instead of kept. journald raises that by the free disk space, some three times on
// common disks (RateLimitIntervalSec= in journald.conf(5)). It is enough for a
// hundred machines that get their addresses at once, with --log-dhcp.
const (
	logInterval = 30 * time.Second
	logBurst    = 1000
)

// properties makes the unit of a job. It is pure: the same job gives the same
// unit. The properties are those of org.freedesktop.systemd1(5), all known to
// systemd 252.
func (c *Core) properties(j *job) ([]systemd.Property, error) {
	plan, err := launch.Encode(planOf(j))
	if err != nil {
		return nil, fmt.Errorf("the launch plan: %w", err)
	}
	if plan = unitSafe.Replace(plan); len(plan) >= maxString {
		return nil, tooLong(len(plan))
	}
	r := record{Context: j.context, Image: j.decision.Profile.Image}
	environment, err := r.environment()
	if err != nil {
		return nil, err
	}
	return slices.Concat(
		identity(j, environment),
		c.lifecycle(j, plan),
		resources(j),
	), nil
}

// unitSafe writes the characters of a JSON text that do not survive in a unit's
// command before systemd 254 (see launch.EncodeWords) in the way of JSON.
var unitSafe = strings.NewReplacer("$", `\u0024`, ";", `\u003b`, "`", `\u0060`)

// identity is what people and tools see of the unit.
func identity(j *job, environment string) []systemd.Property {
	return []systemd.Property{
		systemd.String("Description", fmt.Sprintf("%s for %s: %s", j.context.Profile, j.context.Agent, printable(j.decision.Key))),
		systemd.String("Slice", sliceOf(j.id.Agent)),
		systemd.Strings("Environment", environment),
		systemd.String("SyslogIdentifier", j.context.Profile),
		// A "<0>" on standard output would be an emergency, which journald shows on every
		// terminal of the host. (By syslog(3) a payload can still do that, see SECURITY.md.)
		systemd.Bool("SyslogLevelPrefix", false),
		// One payload must not rotate everybody's journal away, the decisions above
		// all. journald's own limit is ten times this.
		systemd.Duration("LogRateLimitIntervalUSec", logInterval),
		systemd.Uint32("LogRateLimitBurst", logBurst),
		systemd.LogExtraFields("AGENT="+j.id.Agent, "PROFILE="+j.id.Profile, "SIDECAR_ID="+j.id.String()),
	}
}

// lifecycle is how the unit starts, becomes ready, ends and is cleaned up.
// sidecar-launch says READY=1 when the sidecar is ready, so the start job ends then,
// and a restart by systemd waits for the same.
func (c *Core) lifecycle(j *job, plan string) []systemd.Property {
	exec := append([]string{c.Launcher, "exec", plan, "--"}, launch.EncodeWords(c.engine.start(j))...)
	clean := append([]string{c.Launcher, "clean", plan, "--"}, launch.EncodeWords(slices.Concat(c.engine.clean(j), []string{"--"}, c.engine.aside(j)))...)
	return []systemd.Property{
		systemd.String("Type", "notify"),
		systemd.String("NotifyAccess", "all"),
		systemd.Bool("Delegate", true),
		systemd.String("KillMode", "mixed"),
		systemd.ExecStart(exec),
		systemd.ExecStopPost(clean),
		systemd.SuccessExitStatus(successStatus...),
		systemd.String("OOMPolicy", "stop"),
		systemd.Duration("TimeoutStartUSec", j.timeout),
		systemd.Duration("TimeoutStopUSec", stopTimeout),
		systemd.String("Restart", j.decision.Profile.Restart),
		systemd.Duration("RestartUSec", restartDelay),
	}
}

// resources are the limits of the profile. podman's split cgroups put the
// payload below the unit, so they hold for it.
func resources(j *job) []systemd.Property {
	p := j.decision.Profile
	var properties []systemd.Property
	for _, limit := range []struct {
		name  string
		value uint64
	}{{"MemoryMax", p.MemoryMax}, {"TasksMax", p.TasksMax}, {"CPUWeight", p.CPUWeight}} {
		if limit.value != 0 {
			properties = append(properties, systemd.Uint64(limit.name, limit.value))
		}
	}
	if p.OOMScoreAdjust != nil {
		properties = append(properties, systemd.Int32("OOMScoreAdjust", int32(*p.OOMScoreAdjust)))
	}
	return properties
}

// planOf tells sidecar-launch what to pin and what to wait for.
func planOf(j *job) launch.Plan {
	user, profile := j.decision.User, j.decision.Profile
	plan := launch.Plan{
		ID: j.id.String(), User: user.UID, Group: user.GID,
		PIDNamespace: profile.PIDNamespace, Daemonizes: profile.Daemonizes, TimeoutUSec: j.timeout.Microseconds(),
	}
	if j.context.NetworkNamespace != nil {
		plan.NetworkNamespace = *j.context.NetworkNamespace
		if slices.Contains(profile.Capabilities, "NET_ADMIN") {
			plan.Links = &launch.Links{Action: j.decision.Agent.LinkedNamespaces, Own: j.decision.Agent.NetworkNamespaces}
		}
	}
	for _, m := range j.decision.Mounts {
		pinned := launch.Mount{Root: m.Root, Path: m.Path, Writable: m.Writable, Private: m.Private, Optional: m.Optional, Given: m.Given()}
		if m.Root == "" && m.Target != m.Path {
			pinned.Target = m.Target
		}
		plan.Mounts = append(plan.Mounts, pinned)
	}
	if look := j.decision.Configuration; look != nil {
		plan.Configuration = &launch.Configuration{
			File: launch.File{Root: look.File.Root, Path: look.File.Path}, Refused: look.Refused, PIDFile: look.PIDFile,
		}
	}
	for _, f := range j.decision.PIDFiles {
		plan.PIDFiles = append(plan.PIDFiles, launch.File{Root: f.Root, Path: f.Path})
	}
	if s := j.decision.Socket; s != nil {
		plan.Socket = &launch.File{Root: s.Root, Path: s.Path}
	}
	return plan
}

func sliceOf(agent string) string { return "sidecar-" + agent + ".slice" }

// unitsOf matches the units of one agent's sidecars. Agents' names hold no
// character that is special in fnmatch(3).
func unitsOf(agent string) string {
	return interfaces.ID{Agent: agent, Profile: "*", Hash: "*"}.Unit()
}

// printable cuts a text to what fits in one line of systemctl's output.
func printable(s string) string {
	if len(s) > 100 {
		s = "…" + strings.ToValidUTF8(s[len(s)-100:], "")
	}
	return s
}
