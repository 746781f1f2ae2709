package interfaces

// LaunchMode says what a launch does if its instance already exists.
type LaunchMode string

// The launch modes.
const (
	ModeReplace LaunchMode = "replace" // stop it, then start the new one
	ModeFail    LaunchMode = "fail"    // refuse with ErrSidecarExists, unless it failed
	ModeKeep    LaunchMode = "keep"    // return the running one if its request was the same, else refuse
	ModeAdopt   LaunchMode = "adopt"   // return the running one if its request was the same, else replace it
)

// LaunchModes lists the modes. The default is the first, for agents that have
// stand-ins the last.
var LaunchModes = []LaunchMode{ModeReplace, ModeFail, ModeKeep, ModeAdopt}

// SidecarState is the state of a sidecar.
type SidecarState string

// The states.
const (
	StateStarting SidecarState = "starting" // not ready yet
	StateReady    SidecarState = "ready"    // runs and has shown that it is ready
	StateStopping SidecarState = "stopping" // its unit is being stopped
	StateFailed   SidecarState = "failed"   // ended by itself or could not be started

	StateRestarting SidecarState = "restarting" // ended, and systemd starts it again
	StateWaiting    SidecarState = "waiting"    // comes back after a boot of the host, and has no unit yet
)

// MemoryLimit says whose memory limit was reached by a process that ran out of memory.
type MemoryLimit string

// The memory limits.
const (
	MemoryLimitProfile MemoryLimit = "profile" // the profile's memory-max
	MemoryLimitAgent   MemoryLimit = "agent"   // of all sidecars of the agent
	MemoryLimitHost    MemoryLimit = "host"    // the host's, or another one outside of the agent's slice
)

// MemoryLimits lists the memory limits, the narrowest first.
var MemoryLimits = []MemoryLimit{MemoryLimitProfile, MemoryLimitAgent, MemoryLimitHost}

// ResultOutOfMemory is systemd's Result of a unit whose process ran out of memory.
const ResultOutOfMemory = "oom-kill"

// HealthState is the health of a side process, by its profile's probe.
type HealthState string

// The states of health.
const (
	HealthUnknown   HealthState = "unknown"   // no probe has decided yet
	HealthHealthy   HealthState = "healthy"   // the last probe that decided was a success
	HealthUnhealthy HealthState = "unhealthy" // as many probes in a row have failed as the profile allows
)

// HealthStates lists the states of health.
var HealthStates = []HealthState{HealthUnknown, HealthHealthy, HealthUnhealthy}

// LaunchPhase is the part of a launch that failed.
type LaunchPhase string

// Phases of a launch.
const (
	PhasePreparation LaunchPhase = "preparation" // sidecar-launch could not prepare what the container needs
	PhaseEngine      LaunchPhase = "engine"      // the container could not be made
	PhasePayload     LaunchPhase = "payload"     // the program could not be run, or ended before it was ready
	PhaseReadiness   LaunchPhase = "readiness"   // the program ran, and could not be made ready
)

// LaunchPhases lists the phases in their order.
var LaunchPhases = []LaunchPhase{PhasePreparation, PhaseEngine, PhasePayload, PhaseReadiness}

// Engines of profiles.
const (
	EnginePodman  = "podman"  // podman makes the container, and conmon stays beside the payload
	EngineRuntime = "runtime" // an OCI runtime of the host makes it
)

// SidecarStates lists the states in their usual order.
var SidecarStates = []SidecarState{StateStarting, StateReady, StateStopping, StateRestarting, StateFailed, StateWaiting}

// EventKind says what an Event is about.
type EventKind string

// The kinds of events.
const (
	EventPresent      EventKind = "present"      // part of the state that comes first
	EventSynchronized EventKind = "synchronized" // the state is complete, changes follow
	EventStarted      EventKind = "started"      // its unit is being started
	EventReady        EventKind = "ready"        // the process has shown that it is ready
	EventChanged      EventKind = "changed"      // another field of it has changed
	EventStopped      EventKind = "stopped"      // it no longer exists
	EventFailed       EventKind = "failed"       // ended by itself or could not be started
	EventRestarting   EventKind = "restarting"   // ended, and systemd starts it again
	EventOverrun      EventKind = "overrun"      // events were dropped, the state follows again
)

// EventKinds lists the kinds of events.
var EventKinds = []EventKind{
	EventPresent, EventSynchronized, EventStarted, EventReady, EventChanged, EventStopped, EventFailed, EventRestarting, EventOverrun,
}

// Context is the request of a launch; the same values launch the same sidecar again.
type Context struct {
	Profile          string   `json:"profile"`
	Arguments        []string `json:"arguments"`
	Agent            string   `json:"agent"`
	NetworkNamespace *string  `json:"networkNamespace,omitempty"` // nil: the host's own
	ProcessTag       *string  `json:"processTag,omitempty"`
}

// Runtime is the present state of a sidecar. Times are microseconds since the epoch.
type Runtime struct {
	State           SidecarState `json:"state"`
	Unit            string       `json:"unit"`
	InvocationID    *string      `json:"invocationId,omitempty"`
	Engine          string       `json:"engine"`
	OCIRuntime      *string      `json:"ociRuntime,omitempty"` // its path; nil: the engine's own
	Image           string       `json:"image"`
	ImageID         *string      `json:"imageId,omitempty"` // 64 hexadecimal digits; nil: not known
	ImageOutdated   bool         `json:"imageOutdated"`
	ProcessID       *int64       `json:"processId,omitempty"`
	Frozen          bool         `json:"frozen"`
	Health          *HealthState `json:"health,omitempty"` // nil: not ready, or not probed
	HealthSinceUSec *int64       `json:"healthSinceUSec,omitempty"`
	HealthReason    *string      `json:"healthReason,omitempty"` // why it became unhealthy
	StartedUSec     *int64       `json:"startedUSec,omitempty"`
	ReadyUSec       *int64       `json:"readyUSec,omitempty"`
	ExitedUSec      *int64       `json:"exitedUSec,omitempty"`
	Restarts        int64        `json:"restarts"`
	RestartUSec     *int64       `json:"restartUSec,omitempty"` // of a sidecar that is restarting
	ExitCode        *int64       `json:"exitCode,omitempty"`
	ExitSignal      *string      `json:"exitSignal,omitempty"`
	Result          *string      `json:"result,omitempty"`         // systemd's, of a unit that failed or is restarting
	MemoryLimit     *MemoryLimit `json:"memoryLimit,omitempty"`    // nil: not out of memory, or not known
	WaitsUntilUSec  *int64       `json:"waitsUntilUSec,omitempty"` // nil: it does not wait
	Usage           *Usage       `json:"usage,omitempty"`          // nil unless List was asked for it
}

// Usage is what the processes of a sidecar's unit use. A figure is nil if the host does not
// have the controller for it.
type Usage struct {
	CPUUSec     *int64 `json:"cpuUSec,omitempty"` // since the start
	MemoryBytes *int64 `json:"memoryBytes,omitempty"`
	Tasks       *int64 `json:"tasks,omitempty"`
}

// Sidecar is one instance of a profile.
type Sidecar struct {
	ID      string   `json:"id"`
	Context *Context `json:"context,omitempty"`
	Runtime Runtime  `json:"runtime"`
}

// Event is something that happened to a sidecar, or to the stream of events itself.
type Event struct {
	Kind    EventKind `json:"kind"`
	ID      *string   `json:"id,omitempty"`      // nil in synchronized and overrun
	Sidecar *Sidecar  `json:"sidecar,omitempty"` // nil in stopped, synchronized and overrun
}

// LogEntry is one entry of the journal about a sidecar.
type LogEntry struct {
	ID           string  `json:"id"`
	TimeUSec     int64   `json:"timeUSec"`
	Priority     int64   `json:"priority"` // as in syslog(3)
	Identifier   string  `json:"identifier"`
	ProcessID    *int64  `json:"processId,omitempty"`
	InvocationID *string `json:"invocationId,omitempty"`
	Systemd      bool    `json:"systemd"` // systemd says it about the unit
	Message      string  `json:"message"` // can have control characters
}

// StandIn has the facts for a stand-in: a process of an agent in a pid namespace of
// its own, whose number replaces the host's in the pid files.
type StandIn struct {
	Adopted  bool     `json:"adopted"`  // it was running already and was left as it is
	PIDFiles []string `json:"pidFiles"` // absolute paths, the main process's first; may be empty
}

// Profile is a kind of side process that may be launched.
type Profile struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Image       string   `json:"image"`
	Command     []string `json:"command"`
	Instance    string   `json:"instance"`
	Arguments   []string `json:"arguments"`
}

// UnitProperty is a property of a systemd unit, its value as systemctl show prints
// it.
type UnitProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
