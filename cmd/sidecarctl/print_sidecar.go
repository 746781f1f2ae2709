package main

import (
	"io"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// hostNetwork stands for the host's own network. It cannot be the name of a
// namespace.
const hostNetwork = "(host)"

func (p *printer) sidecars(sidecars []interfaces.Sidecar) {
	p.result(sidecars, func(w io.Writer) {
		row(w, "ID", "NAMESPACE", "PID", "STATE", "SINCE", "RESTARTS")
		for i := range sidecars {
			p.sidecarRow(w, &sidecars[i])
		}
	})
}

func (p *printer) sidecarRow(w io.Writer, s *interfaces.Sidecar) {
	namespace, when := none, none
	if s.Context != nil {
		namespace = textOr(s.Context.NetworkNamespace, hostNetwork)
	}
	if usec := since(&s.Runtime); usec != nil {
		when = ago(p.now().Sub(time.UnixMicro(*usec)))
	}
	row(w, s.ID, namespace, numberOr(s.Runtime.ProcessID), stateWords(&s.Runtime), when, numberOr(&s.Runtime.Restarts))
}

func (p *printer) sidecar(s *interfaces.Sidecar) {
	p.result(s, func(w io.Writer) {
		field(w, "ID", s.ID)
		field(w, "State", stateWords(&s.Runtime))
		printContext(w, s.Context)
		p.runtime(w, &s.Runtime)
		field(w, "Journal", "journalctl -u "+s.Runtime.Unit)
	})
}

func printContext(w io.Writer, c *interfaces.Context) {
	if c == nil {
		field(w, "Asked for", "not known: the unit carries no readable record of it")
		return
	}
	field(w, "Agent", c.Agent)
	field(w, "Profile", c.Profile)
	field(w, "Network namespace", textOr(c.NetworkNamespace, hostNetwork))
	field(w, "Process tag", textOr(c.ProcessTag, ""))
	field(w, "Arguments", shellWords(c.Arguments))
}

func (p *printer) runtime(w io.Writer, r *interfaces.Runtime) {
	field(w, "Image", r.Image)
	if r.ProcessID != nil {
		field(w, "Process ID", numberOr(r.ProcessID))
	}
	p.moment(w, "Started", r.StartedUSec)
	p.moment(w, "Ready", r.ReadyUSec)
	p.moment(w, "Ended", r.ExitedUSec)
	field(w, "End", endWords(r.ExitCode, r.ExitSignal))
	field(w, "Result", textOr(r.Result, ""))
	field(w, "Restarts", numberOr(&r.Restarts))
	field(w, "Unit", r.Unit)
	field(w, "Invocation ID", textOr(r.InvocationID, ""))
}

func (p *printer) moment(w io.Writer, name string, usec *int64) {
	if usec != nil {
		field(w, name, moment(*usec, p.now()))
	}
}

// stopped prints what was stopped, which can be less than what was asked for.
func (p *printer) stopped(all []ended) {
	p.result(all, func(w io.Writer) {
		if len(all) == 0 {
			return
		}
		row(w, "ID", "END")
		for _, e := range all {
			how := endWords(e.ExitCode, e.ExitSignal)
			if how == "" {
				how = none
			}
			row(w, e.ID, how)
		}
	})
}

// explained prints what a launch would do. The reply has one rule for each
// argument.
func (p *printer) explained(e *interfaces.ExplainReply, arguments []string) {
	p.result(e, func(w io.Writer) {
		field(w, "ID", e.ID)
		field(w, "Unit", e.Unit)
		field(w, "Image", e.Image)
		field(w, "Command", shellWords(e.Command))
		field(w, "Engine", shellWords(e.EngineCommand))
		row(w)
		row(w, "ARGUMENT", "ACCEPTED BY RULE")
		for i, rule := range e.Rules {
			argument := none
			if i < len(arguments) {
				argument = shellWord(arguments[i])
			}
			row(w, argument, ruleText(rule))
		}
		row(w)
		row(w, "DOCUMENT", "VALUE")
		for _, part := range e.Document {
			row(w, part.Name, part.Value)
		}
		row(w)
		row(w, "PROPERTY", "VALUE")
		for _, property := range e.Properties {
			row(w, property.Name, strings.TrimSpace(property.Value))
		}
	})
}
