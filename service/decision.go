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
	Kept      bool  // an allowed launch that left what runs already as it is
	Outcome   bool  // what came of an allowed launch, not whether it was allowed
	Err       error // nil: allowed, or ready
}

// Verdict is the answer in a word: allowed, refused, or failed if it is not the
// caller's doing that it got nothing.
func (d Decision) Verdict() string {
	switch {
	case d.Err == nil:
		return "allowed"
	case errors.Is(d.Err, interfaces.ErrHostFailure):
		return "failed"
	}
	if _, _, ok := interfaces.ToWire(d.Err); !ok {
		return "failed"
	}
	return "refused"
}

// subject is what a call is about, as far as the caller may name it. Everything
// in it is valid as a name, whatever the caller sent.
type subject struct{ agent, profile, id string }

func subjectOf(id interfaces.ID) subject { return subject{id.Agent, id.Profile, id.String()} }

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
	c.Journal.Record(Decision{Caller: caller, Method: method, Agent: s.agent, Profile: s.profile, SidecarID: s.id, Err: err})
}

// noteLaunch writes a launch that has been decided. kept says that nothing is
// started because it runs already.
func (c *Core) noteLaunch(caller Caller, s subject, kept bool, err error) {
	c.Journal.Record(Decision{Caller: caller, Method: "Launch", Agent: s.agent, Profile: s.profile, SidecarID: s.id, Kept: kept, Err: err})
}

// noteOutcome writes what came of a launch, beside the decision to allow it.
func (c *Core) noteOutcome(caller Caller, s subject, err error) {
	c.Journal.Record(Decision{Caller: caller, Method: "Launch", Agent: s.agent, Profile: s.profile, SidecarID: s.id, Outcome: true, Err: err})
}
