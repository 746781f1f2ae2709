package service

import (
	"fmt"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/varlink"
)

// Caller is who asks: an agent, root, or somebody else on the host. The transport
// fills it from what the kernel or the bus says of the peer, never from what the
// peer says of itself.
type Caller struct {
	Agent  string // the agent whose socket it is; "" for the host's own socket and the bus
	PID    int
	UID    uint32
	PIDFD  int    // -1 if there is none; belongs to the connection
	Sender string // its unique name on the system bus; "" if it came another way
	Oneway bool   // it does not wait for the answer, and may have left
}

// callerOf returns the caller behind a varlink peer.
func callerOf(peer varlink.Peer) Caller {
	return Caller{Agent: peer.Agent, PID: peer.PID, UID: peer.UID, PIDFD: peer.PIDFD, Oneway: peer.Oneway}
}

// limitKey names the caller for limits: its agent, or its user.
func (c Caller) limitKey() string {
	if c.Agent != "" {
		return "agent " + c.Agent
	}
	return fmt.Sprintf("user %d", c.UID)
}

// agentFor returns the agent on whose behalf the caller speaks. An agent speaks
// for itself only: others do not exist for it. On the host's socket the agent
// must be named.
func (c Caller) agentFor(named *string) (string, error) {
	switch {
	case c.Agent == "" && named == nil:
		return "", &interfaces.InvalidParameterError{Parameter: "agent", Reason: "required on the host socket and on the bus; name one with --agent"}
	case c.Agent == "":
		return *named, nil
	case named != nil && *named != c.Agent:
		return "", &interfaces.NoSuchAgentError{Agent: *named}
	}
	return c.Agent, nil
}

// sees reports whether sidecars of the agent exist for the caller.
func (c Caller) sees(agent string) bool { return c.Agent == "" || c.Agent == agent }
