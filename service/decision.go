package service

import (
	"errors"

	"tripleo.io/sidecar/interfaces"
)

// Decision is one entry of the journal: what somebody asked for and got, or what
// came of a launch that was allowed.
type Decision struct {
	Caller    Caller
	Method    string // of the interface
	Agent     string // the caller's own, or the one that an operator named
	Profile   string
	SidecarID string
	// Authorisation says who let the caller in or did not.
	Authorisation Authorisation
	Kept          bool  // an allowed launch that left what runs already as it is, or a stop of nothing that ran
	Outcome       bool  // what came of an allowed launch, not whether it was allowed
	Err           error // nil: allowed, or ready
}

// Verdict is the answer in a word: allowed, refused, or failed if it is not the
// caller's doing that it got nothing.
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

// subject is what a call is about, as far as the caller may name it, and who let
// the caller in. Every name in it is valid as one, whatever the caller sent.
type subject struct {
	agent, profile, id string
	netns              *string // the network namespace that polkit was told, if it was asked
	by                 Authorisation
}

func subjectOf(id interfaces.ID) subject {
	return subject{agent: id.Agent, profile: id.Profile, id: id.String()}
}

// decision is what the journal is told of a call about s.
func (s subject) decision(caller Caller, method string, err error) Decision {
	return Decision{
		Caller: caller, Method: method, Agent: s.agent, Profile: s.profile, SidecarID: s.id,
		Authorisation: s.by, Err: err,
	}
}

// claimed is the subject of a call that was refused before it was looked at. An
// agent can only speak of itself; what it names as another's is not repeated.
func claimed(caller Caller, agent *string, profile string) subject {
	s := subject{agent: caller.Agent}
	if caller.Agent == "" && agent != nil && interfaces.ValidName(*agent) {
		s.agent = *agent
	}
	if interfaces.ValidName(profile) {
		s.profile = profile
	}
	return s
}

// note writes a decision into the journal.
func (c *Core) note(caller Caller, method string, s subject, err error) {
	c.Journal.Record(s.decision(caller, method, err))
}

// noteLaunch writes a launch that has been decided. kept says that nothing is
// started because it runs already.
func (c *Core) noteLaunch(caller Caller, s subject, kept bool, err error) {
	d := s.decision(caller, "Launch", err)
	d.Kept = kept
	c.Journal.Record(d)
}

// noteStop writes a stop. idle says that it has only taken launches out of the queue,
// which costs its caller nothing.
func (c *Core) noteStop(caller Caller, s subject, idle bool, err error) {
	d := s.decision(caller, "Stop", err)
	d.Kept = idle
	c.Journal.Record(d)
}

// noteOutcome writes what came of a launch, beside the decision to allow it.
func (c *Core) noteOutcome(caller Caller, s subject, err error) {
	d := s.decision(caller, "Launch", err)
	d.Outcome = true
	c.Journal.Record(d)
}
