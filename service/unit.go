package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// A payload's entries in the journal beyond logBurst in logInterval are counted
// instead of kept. journald raises that by the free disk space, some three times on
// common disks (RateLimitIntervalSec= in journald.conf(5)). It is enough for a
// hundred machines that get their addresses at once, with --log-dhcp.
const (
	logInterval = 30 * time.Second
	logBurst    = 1000
)

// properties makes the unit of a job. The properties are those of
// org.freedesktop.systemd1(5), all known to systemd 252.
func (c *Core) properties(j *job) ([]systemd.Property, error) {
	environment, err := j.document.Encode()
	var tooLong *document.TooLongError
	if errors.As(err, &tooLong) {
		return nil, &interfaces.InvalidParameterError{Parameter: "arguments", Reason: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat(identity(j, environment), c.lifecycle(j), resources(j)), nil
}

// identity is what people and tools see of the unit.
func identity(j *job, environment []string) []systemd.Property {
	return []systemd.Property{
		systemd.String("Description", fmt.Sprintf("%s for %s: %s", j.context.Profile, j.context.Agent, printable(j.decision.Key))),
		systemd.String("Slice", sliceOf(j.id.Agent)),
		systemd.Strings("Environment", environment...),
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
func (c *Core) lifecycle(j *job) []systemd.Property {
	return []systemd.Property{
		systemd.String("Type", "notify"),
		systemd.String("NotifyAccess", "all"),
		systemd.Bool("Delegate", true),
		systemd.String("KillMode", "mixed"),
		systemd.ExecStart(c.Launcher, "exec"),
		systemd.ExecStopPost([]string{c.Launcher, "clean"}),
		// A kill from outside is a stop, not a failure. Of these systemd itself takes all but
		// SIGKILL for one (systemd.service(5)).
		systemd.SuccessExitStatus(j.engine.Stopped()...),
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

// newDocument returns the document of a job's unit.
func (c *Core) newDocument(j *job) *document.Document {
	decision, profile := j.decision, j.decision.Profile
	plan := document.Plan{
		ID: j.id.String(), Engine: engine.Podman, Program: c.Podman,
		Image: profile.Image, Command: profile.Command,
		Environment: profile.EnvironmentOf(decision.User), User: decision.User.UID, Group: decision.User.GID,
		Capabilities: profile.Capabilities, PIDNamespace: profile.PIDNamespace,
		Seccomp: c.filter(profile.Seccomp), Tmpfs: decision.Tmpfs(),
		Mounts: decision.Mounts, Configuration: decision.Configuration,
		PIDFiles: decision.PIDFiles, Socket: decision.Socket, TimeoutUSec: j.timeout.Microseconds(),
	}
	if profile.Daemonizes {
		plan.Init = filepath.Join(filepath.Dir(c.Launcher), "sidecar-init")
	}
	if _, err := os.Stat(c.Syslog); err == nil && profile.Syslog { // a host without journald's socket does without
		plan.Syslog = c.Syslog
	}
	if j.context.NetworkNamespace != nil && slices.Contains(profile.Capabilities, "NET_ADMIN") {
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
	return document.New(j.context, decision.Arguments, plan)
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
