package service

import (
	"errors"
	"fmt"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// Caller is an agent, root, or another user of the host. The transport fills it from what
// the kernel (SO_PEERCRED, unix(7)) or the bus says of the peer, never from what the peer
// says of itself.
type Caller struct {
	Agent  string // the agent whose socket it is; "" for the host's own socket and the bus
	PID    int    // of the process that connected, as the host sees it
	UID    uint32
	PIDFD  int    // of that process; -1 if the kernel gives none (SO_PEERPIDFD, Linux 6.5). Belongs to the connection
	Sender string // its unique name on the system bus; "" on varlink
	Oneway bool   // it does not wait for the answer of this call, which goes on if it leaves
}

// LimitKey names the caller for limits: its agent, or its user.
func (c Caller) LimitKey() string {
	if c.Agent != "" {
		return "agent " + c.Agent
	}
	return fmt.Sprintf("user %d", c.UID)
}

// agentFor returns the agent for which the caller makes a call. An agent calls for itself
// only: others do not exist for it. On the host's socket the agent must be named.
func (c Caller) agentFor(named *string) (string, error) {
	switch {
	case c.Agent == "" && named == nil:
		return "", invalid("agent", "required on the host socket and on the bus; name one with --agent")
	case c.Agent == "":
		return *named, nil
	case named != nil && *named != c.Agent:
		return "", &interfaces.NoSuchAgentError{Agent: *named}
	}
	return c.Agent, nil
}

// sees reports whether sidecars of the agent exist for the caller.
func (c Caller) sees(agent string) bool { return c.Agent == "" || c.Agent == agent }

// Decision is one entry of the journal: a call and its result, or the outcome of a launch
// that was allowed.
type Decision struct {
	Caller        Caller
	Method        string // of the interface
	Agent         string // the caller's own, or the one that an operator named
	Profile       string
	SidecarID     string
	Authorisation Authorisation
	Began         time.Time      // when the core got the call
	Engine        string         // of the profile; "": policy has not allowed a launch
	Runtime       *RuntimeChoice // nil: policy has not allowed a launch
	Kept          bool           // an allowed launch that kept what runs, or a stop that found no unit
	Outcome       bool           // the outcome of an allowed launch, not whether it was allowed
	Err           error          // nil: allowed, or ready
}

// Rejection says why a transport answered a call without the core.
type Rejection string

// The reasons.
const (
	RejectedByLimit     Rejection = "limit"     // too many calls or connections, or a call that is too long
	RejectedAsMalformed Rejection = "malformed" // the call or its parameters cannot be read
	RejectedAsUnknown   Rejection = "unknown"   // no such method, interface or object
)

// Rejections lists the reasons.
var Rejections = []Rejection{RejectedByLimit, RejectedAsMalformed, RejectedAsUnknown}

// Verdict is the result in a word: allowed, refused, or failed if the error is not the
// caller's fault.
func (d Decision) Verdict() string {
	switch {
	case d.Err == nil:
		return "allowed"
	case errors.Is(d.Err, interfaces.ErrHostFailure), errors.Is(d.Err, interfaces.ErrLaunchStopped):
		return "failed"
	}
	if _, _, ok := interfaces.ToWire(d.Err); !ok {
		return "failed"
	}
	return "refused"
}

// call is a call before its result. Every name in it is valid, whatever the caller sent.
type call struct {
	Decision
	action      string         // that polkit is asked for
	interactive bool           // polkit may ask a person
	sidecar     *interfaces.ID // that the call is about; nil if not known
	netns       *string        // the network namespace that polkit is told
	restores    bool           // no caller: the service brings a sidecar back after a boot
}

// newCall returns a call before its authorisation. A name of another agent is left out if an
// agent calls.
func newCall(caller Caller, method, action string, agent *string, profile string, interactive *bool) *call {
	result := &call{
		Decision: Decision{Caller: caller, Method: method, Agent: caller.Agent, Began: time.Now()},
		action:   action,
		// Nobody is asked for a oneway caller: it may have left, and a person must know
		// whom the answer is for.
		interactive: interactive != nil && *interactive && !caller.Oneway,
	}
	if caller.Agent == "" && agent != nil && interfaces.ValidName(*agent) {
		result.Agent = *agent
	}
	if interfaces.ValidName(profile) {
		result.Profile = profile
	}
	return result
}

// setSidecar makes the call one about this sidecar.
func (call *call) setSidecar(id interfaces.ID) {
	call.Agent, call.Profile, call.SidecarID, call.sidecar = id.Agent, id.Profile, id.String(), &id
}

// record writes the call and its result into the journal.
func (c *Core) record(call *call, err error) {
	d := call.Decision
	d.Err = err
	c.Journal.Record(d)
}

// Checks of parameters. A nil name is one that the caller left out.

func checkName(parameter string, name *string) error {
	if name == nil || interfaces.ValidName(*name) {
		return nil
	}
	return invalid(parameter, fmt.Sprintf("%.80q is not 1 to 32 of a-z, 0-9 and '-', not starting with '-'", *name))
}

func parseID(s string) (interfaces.ID, error) {
	id, err := interfaces.ParseID(s)
	if err != nil {
		return id, invalid("id", err.Error())
	}
	return id, nil
}

// checkTimeout takes microseconds.
func checkTimeout(usec *int64, shortest, longest time.Duration) error {
	if usec == nil || *usec >= shortest.Microseconds() && *usec <= longest.Microseconds() {
		return nil
	}
	return invalid("timeoutUSec", fmt.Sprintf("%d is not from %d (%v) to %d (%v)",
		*usec, shortest.Microseconds(), shortest, longest.Microseconds(), longest))
}

func invalid(parameter, reason string) error {
	return &interfaces.InvalidParameterError{Parameter: parameter, Reason: reason}
}
