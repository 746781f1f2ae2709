// Package journal keeps the service's decisions in systemd's journal, and reads
// from it what the processes of a unit wrote.
//
// A decision is one structured entry. Find those of one agent with
//
//	journalctl MESSAGE_ID=6f2fc8d1c3f14fd0a34f3c7b6a1e9d52 AGENT=neutron-dhcp
package journal

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"tripleo.io/sidecar/service"
)

// MessageID marks every decision (systemd.journal-fields(7)).
const MessageID = "6f2fc8d1c3f14fd0a34f3c7b6a1e9d52"

// Journal is the system's journal. Use New.
type Journal struct {
	send     func(message string, priority journal.Priority, fields map[string]string) error
	logger   *slog.Logger
	refusals *throttle
}

// New returns the journal of this host. Errors in writing to it go to logger:
// a journal that is away must not stop the service.
func New(logger *slog.Logger) *Journal {
	return &Journal{send: journal.Send, logger: logger, refusals: newThrottle(time.Now)}
}

// Record writes one decision. Refusals beyond what a person could read are
// counted instead: journald drops entries of a service that writes too many, and
// those of other agents would be among them.
func (j *Journal) Record(d service.Decision) {
	priority := journal.PriInfo
	if !d.Allowed() {
		priority = journal.PriWarning
		pass, suppressed := j.refusals.pass(d.Agent)
		if suppressed > 0 {
			j.write(fmt.Sprintf("%d more refusals of agent %s not shown", suppressed, orHost(d.Agent)), journal.PriWarning, map[string]string{"AGENT": d.Agent})
		}
		if !pass {
			return
		}
	}
	j.write(message(d), priority, fields(d))
}

func (j *Journal) write(message string, priority journal.Priority, fields map[string]string) {
	if err := j.send(message, priority, fields); err != nil {
		j.logger.Error("cannot write to the journal", "error", err, "message", message)
	}
}

func fields(d service.Decision) map[string]string {
	f := map[string]string{
		"MESSAGE_ID": MessageID,
		"METHOD":     d.Method,
		"AGENT":      d.Agent,
		"PROFILE":    d.Profile,
		"SIDECAR_ID": d.SidecarID,
		"PEER_PID":   strconv.Itoa(d.Caller.PID),
		"PEER_UID":   strconv.FormatUint(uint64(d.Caller.UID), 10),
		"DECISION":   "allowed",
	}
	if !d.Allowed() {
		f["DECISION"] = "refused"
	}
	if d.Err != nil {
		f["REASON"] = clean(d.Err.Error(), maxLine)
	}
	return f
}

func message(d service.Decision) string {
	what := d.Method
	switch {
	case d.SidecarID != "":
		what += " " + d.SidecarID
	case d.Profile != "":
		what += " " + clean(d.Profile, 64)
	}
	who := fmt.Sprintf("%s, pid %d, uid %d", orHost(d.Agent), d.Caller.PID, d.Caller.UID)
	switch {
	case d.Err == nil:
		return fmt.Sprintf("Allowed %s for %s", what, who)
	case d.Allowed():
		return fmt.Sprintf("Allowed %s for %s, but: %s", what, who, clean(d.Err.Error(), maxLine))
	}
	return fmt.Sprintf("Refused %s for %s: %s", what, who, clean(d.Err.Error(), maxLine))
}

func orHost(agent string) string {
	if agent == "" {
		return "host"
	}
	return agent
}
