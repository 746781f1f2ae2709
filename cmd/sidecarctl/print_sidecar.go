package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// hostNetwork stands for the host's own network. No namespace can have this name.
const hostNetwork = "(host)"

func (p *printer) sidecars(sidecars []interfaces.Sidecar) {
	p.result(sidecars, func(w io.Writer) {
		row(w, "ID", "NAMESPACE", "PID", "STATE", "SINCE", "RESTARTS")
		for _, s := range sidecars {
			namespace, when := none, none
			if s.Context != nil {
				namespace = textOr(s.Context.NetworkNamespace, hostNetwork)
			}
			if usec := since(&s.Runtime); usec != nil {
				when = ago(p.now().Sub(time.UnixMicro(*usec)))
			}
			row(w, s.ID, namespace, numberOr(s.Runtime.ProcessID), stateWords(&s.Runtime), when, numberOr(&s.Runtime.Restarts))
		}
	})
}

func (p *printer) sidecar(s *interfaces.Sidecar) {
	r, now := &s.Runtime, p.now()
	p.result(s, func(w io.Writer) {
		field(w, "ID", s.ID)
		field(w, "State", stateWords(r))
		field(w, "Health", healthWords(r, now))
		if c := s.Context; c != nil {
			field(w, "Agent", c.Agent)
			field(w, "Profile", c.Profile)
			field(w, "Network namespace", textOr(c.NetworkNamespace, hostNetwork))
			field(w, "Process tag", textOr(c.ProcessTag, ""))
			field(w, "Arguments", shellWords(c.Arguments))
		} else {
			field(w, "Request", "not known: the unit has no readable record of it")
		}
		field(w, "Engine", r.Engine)
		field(w, "OCI runtime", textOr(r.OCIRuntime, ""))
		field(w, "Image", r.Image)
		field(w, "Image ID", textOr(r.ImageID, ""))
		if r.ProcessID != nil {
			field(w, "Process ID", numberOr(r.ProcessID))
		}
		field(w, "Started", moment(r.StartedUSec, now))
		field(w, "Ready", moment(r.ReadyUSec, now))
		field(w, "Ended", moment(r.ExitedUSec, now))
		field(w, "End", endWords(r.ExitCode, r.ExitSignal))
		field(w, "Result", textOr(r.Result, ""))
		if r.MemoryLimit != nil {
			field(w, "Memory limit of", string(*r.MemoryLimit))
		}
		field(w, "Restarts", numberOr(&r.Restarts))
		field(w, "Next restart", moment(r.RestartUSec, now))
		field(w, "Unit", r.Unit)
		field(w, "Invocation ID", textOr(r.InvocationID, ""))
		field(w, "Journal", "journalctl -u "+r.Unit)
	})
}

// stopped prints how each sidecar that was stopped ended.
func (p *printer) stopped(all []ended) {
	p.result(all, func(w io.Writer) {
		if len(all) > 0 {
			row(w, "ID", "END")
		}
		for _, e := range all {
			row(w, e.ID, cmp.Or(endWords(e.ExitCode, e.ExitSignal), none))
		}
	})
}

// explained prints what a launch would do. The reply has one rule for each argument.
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

// eventLine has columns of fixed width: the widths of later lines are not known yet.
const eventLine = "%-12s  %-12s  %-36s  %-7s  %s\n"

func (p *printer) eventHeader() {
	if !p.json {
		p.write(fmt.Sprintf(eventLine, "TIME", "EVENT", "ID", "PID", "STATE"))
	}
}

// event prints one line, at once. The time in a table is the time of printing: an event has
// no time of its own.
func (p *printer) event(e *interfaces.Event) {
	if p.json {
		p.jsonLine(e)
		return
	}
	pid, state := none, none
	if e.Sidecar != nil {
		pid, state = numberOr(e.Sidecar.Runtime.ProcessID), stateWords(&e.Sidecar.Runtime)
	}
	p.write(fmt.Sprintf(eventLine, p.now().Format("15:04:05.000"),
		printable(string(e.Kind)), printable(textOr(e.ID, none)), pid, printable(state)))
}

// logEntry prints an entry in journalctl's short form, with the sidecar's ID if it can be of
// several; in JSON it is one line.
func (p *printer) logEntry(e *interfaces.LogEntry, several bool) {
	if p.json {
		p.jsonLine(e)
		return
	}
	text := time.UnixMicro(e.TimeUSec).In(p.now().Location()).Format("Jan _2 15:04:05 ")
	if several {
		text += printable(e.ID) + " "
	}
	text += printable(cmp.Or(e.Identifier, "unknown")) // as journalctl says
	if e.ProcessID != nil {
		text += fmt.Sprintf("[%d]", *e.ProcessID)
	}
	p.write(text + ": " + printable(e.Message) + "\n")
}
