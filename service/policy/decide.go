package policy

import (
	"cmp"
	"fmt"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// Request asks whether an agent may launch a sidecar.
type Request struct {
	Agent            string
	Profile          string
	Arguments        []string // without the program's name
	NetworkNamespace *string  // nil: the host's own
	ProcessTag       *string
}

// Decision is an accepted request.
type Decision struct {
	Agent         *Agent
	Profile       *Profile
	User          User                    // the host's user that the process runs as
	Key           string                  // the value of the instance argument, which tells two instances apart
	Arguments     []string                // the request's, without those that the profile ignores
	Rules         []string                // for each argument, the rule that accepted it; a rule of two words is listed twice
	Configuration *document.Configuration // nil: the configuration file is not checked
	Mounts        []document.Mount        // by target, each directory before the directories in it
	PIDFiles      []document.File         // readiness waits for them; the main process first
	Socket        *document.File          // readiness connects to it
	Health        *document.Health        // nil: the process is not probed while it runs
}

// Decide accepts a request or says why not. Its errors are the interface's:
// InvalidParameterError, NoSuchAgentError, NoSuchProfileError,
// NamespaceNotAllowedError or ArgumentNotAllowedError, checked in this order.
func (s *Set) Decide(r Request) (*Decision, error) {
	if err := cmp.Or(
		checkParameter("agent", &r.Agent, checkName),
		checkParameter("profile", &r.Profile, checkName),
		checkParameter("networkNamespace", r.NetworkNamespace, checkNamespace),
		checkParameter("processTag", r.ProcessTag, checkTag),
	); err != nil {
		return nil, err
	}
	agent, ok := s.agents[r.Agent]
	if !ok {
		return nil, &interfaces.NoSuchAgentError{Agent: r.Agent}
	}
	profile, ok := s.profiles[r.Profile]
	if !ok || !slices.Contains(agent.Profiles, r.Profile) {
		return nil, &interfaces.NoSuchProfileError{Profile: r.Profile}
	}
	if err := agent.allowsNamespace(r.NetworkNamespace); err != nil {
		return nil, err
	}
	d, refusal := decide(agent, agent.withImage(profile), r.Arguments)
	if refusal != nil {
		return nil, refusal.error(r.Arguments)
	}
	return d, nil
}

func checkName(s string) string {
	if interfaces.ValidName(s) {
		return ""
	}
	return "it must be " + wantName
}

// checkParameter checks the syntax of a parameter that need not be given.
func checkParameter(parameter string, value *string, check func(string) string) error {
	if value == nil {
		return nil
	}
	reason := check(*value)
	if reason == "" {
		return nil
	}
	return &interfaces.InvalidParameterError{Parameter: parameter, Reason: fmt.Sprintf("%.300q: %s", *value, reason)}
}

// decide accepts the arguments of a launch or returns why one is refused.
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
	d.Configuration = c.look()
	if p.Ready.Socket != "" {
		file, refusal := c.file(p.Ready.Socket)
		if refusal != nil {
			return nil, refusal
		}
		d.Socket = &file
	}
	if d.Health, refusal = c.health(); refusal != nil {
		return nil, refusal
	}
	return d, nil
}
