package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// Profile is one kind of side process.
type Profile struct {
	Name            string
	Description     string
	Image           string
	Engine          string   // interfaces.EnginePodman or EngineRuntime
	Runtimes        []string // names or paths of OCI runtimes, the preferred one first; none: the engine's own
	RuntimeRequired bool     // a launch fails if the host has none of Runtimes
	Command         []string // program and fixed arguments, before the caller's
	Instance        string   // option whose value tells two instances apart
	Ready           Ready
	Capabilities    []string         // without "CAP_", sorted
	User            string           // "root", or "": the agent's
	Environment     []string         // "NAME=value" as written, with {uid} and {gid}
	PIDNamespace    string           // "private" or "host"
	Configuration   *Configuration   // nil: its configuration file is not checked before a start
	Tmpfs           []string         // directories of the container that are empty and writable at each start
	Syslog          bool             // whether syslog(3) reaches the journal
	Seccomp         string           // "": the service's filter; SeccompNetfilter, SeccompDefault, or the path of a file
	Daemonizes      bool             // it leaves the foreground
	Restart         Restart          // which ends systemd repairs
	Limits                           // of each sidecar
	FilesMax        uint64           // open files of each process; 0: the engine's default
	OOMScoreAdjust  *int             // -1000 to 1000; nil: systemd's default
	Mounts          []ProfileMount   // besides the directories of path holes
	Health          *document.Health // nil: the process is not probed while it runs; its texts may be templates

	arguments []string // the rules as written
	rules     []*rule  // rules without holes first
}

// Ready says how a profile's process shows that it is ready: by pid files, by a
// socket that takes connections, or just by running.
type Ready struct {
	PIDFiles       []string // options or templates, the main process first
	DefaultPIDFile string   // template for a launch without the option
	Socket         string   // template
	Process        bool
	Timeout        time.Duration
}

// Describe returns the profile as the interface shows it.
func (p *Profile) Describe() interfaces.Profile {
	return interfaces.Profile{
		Name:        p.Name,
		Description: p.Description,
		Image:       p.Image,
		Command:     slices.Clone(p.Command),
		Instance:    p.Instance,
		Arguments:   slices.Clone(p.arguments),
	}
}

// EnvironmentOf returns the variables of a process that runs as this user, each as
// NAME=value.
func (p *Profile) EnvironmentOf(u User) []string {
	numbers := strings.NewReplacer("{uid}", strconv.FormatUint(uint64(u.UID), 10), "{gid}", strconv.FormatUint(uint64(u.GID), 10))
	var assignments []string
	for _, assignment := range p.Environment {
		assignments = append(assignments, numbers.Replace(assignment))
	}
	return assignments
}

// rawProfile is a profile's file as it is written.
type rawProfile struct {
	Description     string            `toml:"description"`
	Image           string            `toml:"image"`
	Engine          *string           `toml:"engine"`
	Runtime         []string          `toml:"runtime"`
	RuntimeRequired bool              `toml:"runtime-required"`
	Command         []string          `toml:"command"`
	Instance        string            `toml:"instance"`
	Ready           *rawReady         `toml:"ready"`
	Capabilities    []string          `toml:"capabilities"`
	User            *string           `toml:"user"`
	Environment     []string          `toml:"environment"`
	PIDNamespace    *string           `toml:"pid-namespace"`
	Seccomp         *string           `toml:"seccomp"`
	Syslog          *bool             `toml:"syslog"`
	Daemonizes      bool              `toml:"daemonizes"`
	Restart         *string           `toml:"restart"`
	RestartDelay    *string           `toml:"restart-delay"`
	RestartLimit    *string           `toml:"restart-limit"`
	MemoryMax       *string           `toml:"memory-max"`
	TasksMax        *int64            `toml:"tasks-max"`
	CPUWeight       *int64            `toml:"cpu-weight"`
	CPUMax          *string           `toml:"cpu-max"`
	FilesMax        *int64            `toml:"files-max"`
	OOMScoreAdjust  *int64            `toml:"oom-score-adjust"`
	Mounts          []string          `toml:"mounts"`
	Tmpfs           []string          `toml:"tmpfs"`
	Arguments       []string          `toml:"arguments"`
	Configuration   *rawConfiguration `toml:"configuration"`
	Ignored         []string          `toml:"ignored-arguments"`
	Health          *rawHealth        `toml:"health"`
}

type rawReady struct {
	PIDFile        any     `toml:"pid-file"` // a string or a list of them
	DefaultPIDFile *string `toml:"default-pid-file"`
	Socket         *string `toml:"socket"`
	Process        bool    `toml:"process"`
	Timeout        *string `toml:"timeout"`
}

type rawConfiguration struct {
	File    string   `toml:"file"`
	Refused []string `toml:"refused"`
	PIDFile string   `toml:"pid-file"`
}

// parseProfile reads a profile's file. If the report has a problem afterwards, the
// profile must not be used.
func parseProfile(r *report, name string, document []byte) *Profile {
	var raw rawProfile
	if !decode(r, document, &raw) {
		return nil
	}
	p := &Profile{
		Name:            name,
		Description:     r.text("description", raw.Description),
		Image:           r.image("image", raw.Image),
		Engine:          r.choice("engine", raw.Engine, interfaces.EnginePodman, interfaces.EngineRuntime),
		Runtimes:        r.runtimes(raw.Runtime, raw.RuntimeRequired, raw.Engine),
		RuntimeRequired: raw.RuntimeRequired,
		Command:         r.command(raw.Command),
		Capabilities:    r.capabilities(raw.Capabilities, raw.User != nil),
		User:            r.profileUser(raw.User),
		Environment:     r.environment(raw.Environment),
		PIDNamespace:    r.choice("pid-namespace", raw.PIDNamespace, "private", "host"),
		Seccomp:         r.seccomp(raw.Seccomp),
		Syslog:          raw.Syslog == nil || *raw.Syslog,
		Daemonizes:      raw.Daemonizes,
		Restart:         r.restart(raw.Restart, raw.RestartDelay, raw.RestartLimit),
		Limits:          r.limits("", rawLimits{raw.MemoryMax, raw.TasksMax, raw.CPUWeight, raw.CPUMax}),
		FilesMax:        uint64(r.number("files-max", raw.FilesMax, 16, maxFiles)),
		Mounts:          r.mounts(raw.Mounts),
		Tmpfs:           r.tmpfs(raw.Tmpfs, raw.Command),
	}
	if raw.OOMScoreAdjust != nil {
		p.OOMScoreAdjust = new(int(r.number("oom-score-adjust", raw.OOMScoreAdjust, -1000, 1000)))
	}
	if p.PIDNamespace == "host" {
		r.warnf("pid-namespace", "a root process in the host's pid namespace may signal every root process of the host")
		if p.Daemonizes {
			r.errorf("daemonizes", `needs pid-namespace = "private": sidecar-init adopts the program as the first process of its namespace`)
		}
	}
	before := len(r.problems)
	p.arguments, p.rules = r.rules(raw.Arguments, raw.Ignored)
	if len(r.problems) == before { // otherwise problems of keys that refer to a rule would only be noise
		r.instance(p, raw.Instance)
		r.ready(p, raw.Ready)
		r.configuration(p, raw.Configuration)
		r.health(p, raw.Health)
	}
	return p
}
