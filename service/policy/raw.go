package policy

// rawProfile is a profile's file as it is written.
type rawProfile struct {
	Description    string            `toml:"description"`
	Image          string            `toml:"image"`
	Command        []string          `toml:"command"`
	Instance       string            `toml:"instance"`
	Ready          *rawReady         `toml:"ready"`
	Capabilities   []string          `toml:"capabilities"`
	User           *string           `toml:"user"`
	Environment    []string          `toml:"environment"`
	PIDNamespace   *string           `toml:"pid-namespace"`
	Seccomp        *string           `toml:"seccomp"`
	Syslog         *bool             `toml:"syslog"`
	Daemonizes     bool              `toml:"daemonizes"`
	Restart        *string           `toml:"restart"`
	MemoryMax      *string           `toml:"memory-max"`
	TasksMax       *int64            `toml:"tasks-max"`
	CPUWeight      *int64            `toml:"cpu-weight"`
	OOMScoreAdjust *int64            `toml:"oom-score-adjust"`
	Mounts         []string          `toml:"mounts"`
	Tmpfs          []string          `toml:"tmpfs"`
	Arguments      []string          `toml:"arguments"`
	Configuration  *rawConfiguration `toml:"configuration"`
	Ignored        []string          `toml:"ignored-arguments"`
}

type rawReady struct {
	PIDFile        any     `toml:"pid-file"` // a string or a list of them
	DefaultPIDFile *string `toml:"default-pid-file"`
	Socket         *string `toml:"socket"`
	Process        *bool   `toml:"process"`
	Timeout        *string `toml:"timeout"`
}

type rawConfiguration struct {
	File    string   `toml:"file"`
	Refused []string `toml:"refused"`
	PIDFile string   `toml:"pid-file"`
}

// rawAgent is an agent's file as it is written.
type rawAgent struct {
	Profiles          []string `toml:"profiles"`
	NetworkNamespaces []string `toml:"network-namespaces"`
	HostNetwork       *bool    `toml:"host-network"`
	StateDirectories  []string `toml:"state-directories"`
	Subdirectories    []string `toml:"subdirectories"`
	MaxSidecars       *int64   `toml:"max-sidecars"`
	StandIns          *bool    `toml:"stand-ins"`
	SpoolUser         *int64   `toml:"spool-user"`
	SidecarUser       any      `toml:"sidecar-user"` // a number or a name
	SELinuxLevel      *string  `toml:"selinux-level"`
	LinkedNamespaces  *string  `toml:"linked-namespaces"`
}
