package interfaces

// LaunchParameters are the parameters of Launch and of Explain.
type LaunchParameters struct {
	Profile                        string      `json:"profile"`
	Arguments                      []string    `json:"arguments"`
	Agent                          *string     `json:"agent,omitempty"`
	NetworkNamespace               *string     `json:"networkNamespace,omitempty"`
	ProcessTag                     *string     `json:"processTag,omitempty"`
	Mode                           *LaunchMode `json:"mode,omitempty"`
	TimeoutUSec                    *int64      `json:"timeoutUSec,omitempty"`
	Replaces                       *string     `json:"replaces,omitempty"` // invocation ID
	AllowInteractiveAuthentication *bool       `json:"allowInteractiveAuthentication,omitempty"`
}

// LaunchReply is the answer to Launch.
type LaunchReply struct {
	Sidecar Sidecar  `json:"sidecar"`
	StandIn *StandIn `json:"standIn,omitempty"` // nil: the agent has no stand-ins
}

// ExplainReply is the answer to Explain.
type ExplainReply struct {
	ID         string         `json:"id"`
	Unit       string         `json:"unit"`
	Image      string         `json:"image"`
	Command    []string       `json:"command"`
	Rules      []string       `json:"rules"`
	Properties []UnitProperty `json:"properties"`

	EngineCommand []string       `json:"engineCommand"`
	Document      []UnitProperty `json:"document"` // keys and values; lists and structures as JSON
}

// ListParameters are the selectors of List; nil selects everything.
type ListParameters struct {
	ID                             *string `json:"id,omitempty"`
	Agent                          *string `json:"agent,omitempty"`
	Profile                        *string `json:"profile,omitempty"`
	NetworkNamespace               *string `json:"networkNamespace,omitempty"`
	Usage                          *bool   `json:"usage,omitempty"`
	AllowInteractiveAuthentication *bool   `json:"allowInteractiveAuthentication,omitempty"`
}

// Selects reports whether any selector is set.
func (p ListParameters) Selects() bool {
	p.Usage, p.AllowInteractiveAuthentication = nil, nil
	return p != ListParameters{}
}

// ListReply is one answer to List.
type ListReply struct {
	Sidecar Sidecar `json:"sidecar"`
}

// StopParameters are the parameters of Stop.
type StopParameters struct {
	ID                             string `json:"id"`
	TimeoutUSec                    *int64 `json:"timeoutUSec,omitempty"`
	AllowInteractiveAuthentication *bool  `json:"allowInteractiveAuthentication,omitempty"`
}

// StopReply is the answer to Stop: how the process ended, if known.
type StopReply struct {
	ExitCode   *int64  `json:"exitCode,omitempty"`
	ExitSignal *string `json:"exitSignal,omitempty"`
}

// Signals lists the names that the method Signal takes, as signal(7) writes them.
// SIGSTOP is missing because a stopped payload looks like an outage.
var Signals = []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGKILL", "SIGWINCH"}

// SignalParameters are the parameters of Signal.
type SignalParameters struct {
	ID                             string `json:"id"`
	Signal                         string `json:"signal"`
	AllowInteractiveAuthentication *bool  `json:"allowInteractiveAuthentication,omitempty"`
}

// SignalReply is the empty answer to Signal.
type SignalReply struct{}

// ListProfilesParameters are the selectors of ListProfiles.
type ListProfilesParameters struct {
	Agent                          *string `json:"agent,omitempty"`
	AllowInteractiveAuthentication *bool   `json:"allowInteractiveAuthentication,omitempty"`
}

// ListProfilesReply is one answer to ListProfiles.
type ListProfilesReply struct {
	Profile Profile `json:"profile"`
}

// MonitorParameters are the selectors of Monitor; nil selects everything.
type MonitorParameters struct {
	Agent                          *string `json:"agent,omitempty"`
	Profile                        *string `json:"profile,omitempty"`
	AllowInteractiveAuthentication *bool   `json:"allowInteractiveAuthentication,omitempty"`
}

// MonitorReply is one answer to Monitor.
type MonitorReply struct {
	Event Event `json:"event"`
}

// The bounds of ReadLog's parameter lines, and its default.
const (
	MaxLogLines     = 1000
	DefaultLogLines = 100
)

// MaxLogMessage is how many bytes a message of ReadLog has at most.
const MaxLogMessage = 4096

// ReadLogParameters are the selectors and bounds of ReadLog; nil selects everything.
type ReadLogParameters struct {
	ID                             *string `json:"id,omitempty"`
	Agent                          *string `json:"agent,omitempty"`
	Profile                        *string `json:"profile,omitempty"`
	Lines                          *int64  `json:"lines,omitempty"`
	SinceUSec                      *int64  `json:"sinceUSec,omitempty"`
	Follow                         *bool   `json:"follow,omitempty"`
	AllowInteractiveAuthentication *bool   `json:"allowInteractiveAuthentication,omitempty"`
}

// ReadLogReply is one answer to ReadLog; without an entry, all that existed have come.
type ReadLogReply struct {
	Entry *LogEntry `json:"entry,omitempty"`
}
