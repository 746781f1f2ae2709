package policy

import (
	"fmt"

	"tripleo.io/sidecar/interfaces"
)

// Request asks whether an agent may launch a sidecar.
type Request struct {
	Agent            string
	Profile          string
	Arguments        []string // without the program's name
	NetworkNamespace *string  // nil: the host's own
	ProcessTag       *string
}

// Decision is what an accepted request comes to.
type Decision struct {
	Agent         *Agent
	Profile       *Profile
	User          User     // of the host, that the process runs as
	Key           string   // what tells two instances apart: the value of the instance argument
	Arguments     []string // what the process gets: the request's without those that the profile ignores
	Rules         []string // for each argument, the rule that accepted it; a rule of two words is there twice
	Configuration *Look    // what is looked for in the configuration; nil if the profile says nothing of it
	Mounts        []Mount  // by target, each directory before what is in it
	PIDFiles      []File   // what readiness waits for, the main process first
	Socket        *File    // what readiness connects to
}

// Decide accepts a request or says why not. Its errors are those of the
// interface: InvalidParameterError, NoSuchAgentError, NoSuchProfileError,
// NamespaceNotAllowedError or ArgumentNotAllowedError, checked in this order.
func (s *Set) Decide(r Request) (*Decision, error) {
	if err := checkNames(r); err != nil {
		return nil, err
	}
	agent, ok := s.agents[r.Agent]
	if !ok {
		return nil, &interfaces.NoSuchAgentError{Agent: r.Agent}
	}
	profile, ok := s.profiles[r.Profile]
	if !ok || !agent.grants(r.Profile) {
		return nil, &interfaces.NoSuchProfileError{Profile: r.Profile}
	}
	if err := agent.allowsNamespace(r.NetworkNamespace); err != nil {
		return nil, err
	}
	d, refusal := decide(agent, profile, r.Arguments)
	if refusal != nil {
		return nil, refusal.error(r.Arguments)
	}
	return d, nil
}

// checkNames checks the syntax of what a request names, before anything is
// looked up.
func checkNames(r Request) error {
	const want = "1 to 32 of a-z, 0-9 and '-', not beginning with '-'"
	switch {
	case !interfaces.ValidName(r.Agent):
		return &interfaces.InvalidParameterError{Parameter: "agent", Reason: want}
	case !interfaces.ValidName(r.Profile):
		return &interfaces.InvalidParameterError{Parameter: "profile", Reason: want}
	}
	for _, name := range []struct {
		parameter string
		value     *string
		check     func(string) string
	}{{"networkNamespace", r.NetworkNamespace, checkNamespace}, {"processTag", r.ProcessTag, checkTag}} {
		if name.value == nil {
			continue
		}
		if reason := name.check(*name.value); reason != "" {
			return &interfaces.InvalidParameterError{Parameter: name.parameter, Reason: fmt.Sprintf("%.300q: %s", *name.value, reason)}
		}
	}
	return nil
}

// decide accepts the arguments of a launch or says which one it does not.
func decide(a *Agent, p *Profile, arguments []string) (*Decision, *refusal) {
	if refusal := checkArguments(arguments); refusal != nil {
		return nil, refusal
	}
	m, refusal := p.matchAll(arguments)
	if refusal != nil {
		return nil, refusal
	}
	c, refusal := newChoice(a, p, m)
	if refusal != nil {
		return nil, refusal
	}
	d := &Decision{Agent: a, Profile: p, User: a.UserOf(p), Key: c.key.value, Arguments: m.arguments, Rules: m.rules}
	if d.Mounts, refusal = c.mounts(); refusal != nil {
		return nil, refusal
	}
	if d.PIDFiles, refusal = c.pidFiles(); refusal != nil {
		return nil, refusal
	}
	if d.Configuration, refusal = c.look(); refusal != nil {
		return nil, refusal
	}
	if p.Ready.Socket != "" {
		file, refusal := c.file(p.Ready.Socket)
		if refusal != nil {
			return nil, refusal
		}
		d.Socket = &file
	}
	return d, nil
}
