package policy

import (
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// Profile is one kind of side process.
type Profile struct {
	Name           string
	Description    string
	Image          string
	Command        []string // program and fixed arguments, before the caller's
	Instance       string   // option whose value tells two instances apart
	Ready          Ready
	Capabilities   []string       // without "CAP_", sorted
	User           string         // "root", or "": the agent's
	Environment    []string       // "NAME=value" as written, with {uid} and {gid}
	PIDNamespace   string         // "private" or "host"
	Configuration  *Configuration // what its configuration file is looked through for before a start, or nil
	Tmpfs          []string       // directories that are empty and writable in the container, and its own
	Syslog         bool           // whether syslog(3) reaches the journal
	Seccomp        string         // which system calls it may make: "" as the service says, SeccompNetfilter, SeccompDefault, or the path of a file
	Daemonizes     bool           // it leaves the foreground
	Restart        string         // as systemd's Restart=: "no", "on-failure" or "always"
	MemoryMax      uint64         // bytes; 0: no limit
	TasksMax       uint64         // 0: no limit
	CPUWeight      uint64         // 1 to 10000; 0: systemd's own
	OOMScoreAdjust *int           // -1000 to 1000; nil: systemd's own
	Mounts         []ProfileMount // what is mounted besides the directories of path holes

	arguments []string // the rules as written
	rules     []*rule  // literal ones first
}

// Ready says how a profile's process shows that it is ready: by pid files, by a
// socket that takes connections, or just by running.
type Ready struct {
	PIDFiles       []string // options or templates, the main process first
	DefaultPIDFile string   // template for when the one option is not given
	Socket         string   // template
	Process        bool
	Timeout        time.Duration
}

// ProfileMount is a directory that a profile mounts besides those that its
// arguments name.
type ProfileMount struct {
	State    bool   // Path is relative to the instance's state directory
	Path     string // "." is the state directory itself
	Writable bool
	Private  bool   // an empty directory of the container's own is in its place
	Optional bool   // it may be missing
	Target   string // where the container sees a fixed path; "": at the same path
}

// Configuration is what a configuration file must and must not hold.
type Configuration struct {
	Option  string            // whose value is the file
	Refused map[string]string // words that no line may begin with, each with the reason
	PIDFile string            // word of the line that names the pid file if no argument does; "": not looked for
}

// Agent is a containerised service that may start sidecars.
type Agent struct {
	Name              string
	Profiles          []string // granted, sorted
	NetworkNamespaces []string // patterns with '*'
	StateDirectories  []string // absolute
	Subdirectories    []string // of each of them, or absolute ones of the one that they lie in: the only ones that paths may lie in; empty: all. "." is the directory itself without its subdirectories
	HostNetwork       bool     // whether its sidecars may run in the host's network
	MaxSidecars       int
	StandIns          bool    // whether it has a pid namespace of its own, where stand-ins take the sidecars' place
	SidecarUser       User    // the host's user that its sidecars run as, unless a profile asks for root
	SELinuxLevel      string  // of its sidecars, where SELinux is: sensitivity and categories
	LinkedNamespaces  string  // what a link from a namespace to another one means: "check", "warn" or "refuse"
	SpoolUser         *uint32 // user of the host that writes requests into its spool; nil: it has no spool
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
