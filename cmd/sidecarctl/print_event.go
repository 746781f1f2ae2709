package main

import (
	"bytes"
	"fmt"

	"tripleo.io/sidecar/interfaces"
)

// eventLine has columns of fixed width: what comes later is not known yet.
const eventLine = "%-12s  %-12s  %-36s  %-7s  %s\n"

func (p *printer) eventHeader() {
	if !p.json {
		_, p.err = fmt.Fprintf(p.to, eventLine, "TIME", "EVENT", "ID", "PID", "STATE")
	}
}

// event prints one line, at once. A table has the time of now: an event has none of
// its own.
func (p *printer) event(e *interfaces.Event) {
	var b bytes.Buffer
	if p.json {
		if p.err = encode(&b, e, ""); p.err != nil {
			return
		}
	} else {
		pid, state := none, none
		if e.Sidecar != nil {
			pid, state = numberOr(e.Sidecar.Runtime.ProcessID), stateWords(&e.Sidecar.Runtime)
		}
		fmt.Fprintf(&b, eventLine, p.now().Format("15:04:05.000"),
			printable(string(e.Kind)), printable(textOr(e.ID, none)), pid, printable(state))
	}
	_, p.err = p.to.Write(b.Bytes())
}
