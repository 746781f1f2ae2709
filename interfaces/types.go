package interfaces

// LaunchMode says what to do when the instance that a launch asks for is there
// already.
type LaunchMode string

// The launch modes.
const (
	ModeReplace LaunchMode = "replace" // stop it, then start the new one
	ModeFail    LaunchMode = "fail"    // refuse with ErrSidecarExists
	ModeKeep    LaunchMode = "keep"    // answer the running one if it was asked for in the same way, else refuse
	ModeAdopt   LaunchMode = "adopt"   // answer the running one if it was asked for in the same way, else replace it
)

// LaunchModes lists the modes. The default is the first, for agents that have
// stand-ins the last.
var LaunchModes = []LaunchMode{ModeReplace, ModeFail, ModeKeep, ModeAdopt}

// SidecarState says where a sidecar is in its life.
type SidecarState string

// The states.
const (
	StateStarting SidecarState = "starting" // not ready yet
	StateReady    SidecarState = "ready"    // runs and has shown that it is ready
	StateStopping SidecarState = "stopping" // its unit is being stopped
	StateFailed   SidecarState = "failed"   // ended by itself or could not be started
)

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

// SidecarStates lists the states in the order of a life.
var SidecarStates = []SidecarState{StateStarting, StateReady, StateStopping, StateFailed}

// EventKind says what an Event is about.
type EventKind string

// The kinds of events.
const (
	EventPresent      EventKind = "present"      // part of the state that comes first
	EventSynchronized EventKind = "synchronized" // the state is complete, changes follow
	EventStarted      EventKind = "started"      // its unit is being started
	EventReady        EventKind = "ready"        // the process has shown that it is ready
	EventChanged      EventKind = "changed"      // something else about it is different
	EventStopped      EventKind = "stopped"      // it is gone
	EventFailed       EventKind = "failed"       // ended by itself or could not be started
	EventOverrun      EventKind = "overrun"      // events were dropped, the state follows anew
)

// EventKinds lists the kinds of events.
var EventKinds = []EventKind{
	EventPresent, EventSynchronized, EventStarted, EventReady, EventChanged, EventStopped, EventFailed, EventOverrun,
}

// Context is what was asked for; the same values launch the same sidecar again.
type Context struct {
	Profile          string   `json:"profile"`
	Arguments        []string `json:"arguments"`
	Agent            string   `json:"agent"`
	NetworkNamespace *string  `json:"networkNamespace,omitempty"` // nil: the host's own
	ProcessTag       *string  `json:"processTag,omitempty"`
}

// Runtime is what is the case now. Times are microseconds since the epoch.
type Runtime struct {
	State         SidecarState `json:"state"`
	Unit          string       `json:"unit"`
	InvocationID  *string      `json:"invocationId,omitempty"`
	Image         string       `json:"image"`
	ImageOutdated bool         `json:"imageOutdated"`
	ProcessID     *int64       `json:"processId,omitempty"`
	Frozen        bool         `json:"frozen"`
	StartedUSec   *int64       `json:"startedUSec,omitempty"`
	ReadyUSec     *int64       `json:"readyUSec,omitempty"`
	ExitedUSec    *int64       `json:"exitedUSec,omitempty"`
	Restarts      int64        `json:"restarts"`
	ExitCode      *int64       `json:"exitCode,omitempty"`
	ExitSignal    *string      `json:"exitSignal,omitempty"`
	Result        *string      `json:"result,omitempty"` // systemd's, of a unit that failed
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

// StandIn is what an agent in a pid namespace of its own needs to know beside the
// sidecar: the stand-in is a process of the agent's, whose number it finds in the
// pid files instead of the host's.
type StandIn struct {
	Adopted  bool     `json:"adopted"`  // it was running already and was left as it is
	PIDFiles []string `json:"pidFiles"` // absolute paths, that of the main process first; may be empty
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

// UnitProperty is a property of a systemd unit, its value as systemctl show
// would print it.
type UnitProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
