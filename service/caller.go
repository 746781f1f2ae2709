package service

import (
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/varlink"
)

// Caller is who asks. The transport fills it from what the kernel says of the
// peer, never from what the peer says of itself.
type Caller struct {
	Agent string // the agent whose socket it is; "" for the host's own socket
	PID   int
	UID   uint32
	PIDFD int // -1 if there is none; belongs to the connection
}

// callerOf returns the caller behind a varlink peer.
func callerOf(peer varlink.Peer) Caller {
	return Caller{Agent: peer.Agent, PID: peer.PID, UID: peer.UID, PIDFD: peer.PIDFD}
}

// agentFor returns the agent on whose behalf the caller speaks. An agent speaks
// for itself only: others do not exist for it. On the host's socket the agent
// must be named.
func (c Caller) agentFor(named *string) (string, error) {
	switch {
	case c.Agent == "" && named == nil:
		return "", &interfaces.InvalidParameterError{Parameter: "agent", Reason: "on the host's socket the agent must be named"}
	case c.Agent == "":
		return *named, nil
	case named != nil && *named != c.Agent:
		return "", &interfaces.NoSuchAgentError{Agent: *named}
	}
	return c.Agent, nil
}

// authorise lets in agents, which their own policy holds, and root on the host's
// socket. Everybody else is refused before anything is looked up.
func (c Caller) authorise() error {
	if c.Agent == "" && c.UID != 0 {
		return interfaces.ErrPermissionDenied
	}
	return nil
}

// sees reports whether sidecars of the agent exist for the caller.
func (c Caller) sees(agent string) bool { return c.Agent == "" || c.Agent == agent }
