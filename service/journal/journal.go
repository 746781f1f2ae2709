// Package journal keeps the service's decisions in systemd's journal, and reads
// from it what the processes of a unit wrote.
//
// A decision is one structured entry, written before anything is done. What came
// of an allowed launch is another. Find the decisions about one agent with
//
//	journalctl MESSAGE_ID=6f2fc8d1c3f14fd0a34f3c7b6a1e9d52 AGENT=neutron-dhcp
package journal

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"tripleo.io/sidecar/internal/backlog"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service"
)

// MESSAGE_ID of the entries (systemd.journal-fields(7)).
const (
	MessageID = "6f2fc8d1c3f14fd0a34f3c7b6a1e9d52" // a decision
	OutcomeID = "0d6c1b0f4f6e4a6f9b8f5d0e6a0c7e31" // what came of an allowed launch
	LostID    = "dc41e4dbf0974922b32ce48281f51129" // decisions that could not be written
)

// Of the entries so many may wait for a journald that does not read. An entry has some
// hundreds of bytes, at most four thousand.
const (
	maxEntries    = 4096
	maxEntryBytes = 8 << 20
)

// lateAfter is the age from which on an entry says when it was made: journald gives it
// the time at which it reads it.
const lateAfter = time.Second

// send writes to the journal. It may block for ever.
type send func(message string, priority journal.Priority, fields map[string]string) error

// Journal is the system's journal. Use New.
type Journal struct {
	send    send
	logger  *slog.Logger
	callers *throttle
	entries *backlog.Backlog[entry]
	// programs bounds journalctl a little later than its own time-out does.
	programs *bounded.Calls
}

// entry is what waits to be written.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
	made     time.Time
}

// New returns the journal of this host. Errors in writing to it go to logger:
// a journal that is away must not stop the service.
func New(logger *slog.Logger) *Journal { return newJournal(journal.Send, logger, time.Now) }

func newJournal(send send, logger *slog.Logger, now func() time.Time) *Journal {
	j := &Journal{send: send, logger: logger, callers: newThrottle(now), programs: bounded.New(readTimeout+time.Second, maxHanging, maxHanging)}
	j.entries = backlog.New(backlog.Config[entry]{
		Items: maxEntries, Bytes: maxEntryBytes, Size: entry.size, Write: j.write, Lost: j.lost,
	})
	return j
}

// Record queues the entry about one decision, and does not wait for journald. Each caller
// has a limit; entries beyond it are counted, not written. Otherwise one caller could have
// the journal rotate entries about other agents away; journald's own limit does not know
// callers, and sidecard.service raises it out of reach.
// Stops, and launches that start something, are always written: each costs its caller a
// process.
//
// While journald does not read, entries wait in the queue. If the queue is full they are
// dropped and counted, launches and stops last.
func (j *Journal) Record(d service.Decision) {
	shown := d.Outcome || d.Verdict() == "allowed" && !d.Kept && (d.Method == "Launch" || d.Method == "Stop")
	if !shown {
		pass, suppressed := j.callers.pass(origin(d))
		if suppressed > 0 {
			j.add(fmt.Sprintf("%d more entries about calls of %s not shown", suppressed, origin(d)),
				journal.PriWarning, map[string]string{"AGENT": d.Caller.Agent}, false)
		}
		if !pass {
			return
		}
	}
	priority := journal.PriInfo
	if d.Err != nil {
		priority = journal.PriWarning
	}
	j.add(message(d), priority, fields(d), shown)
}

// Flush waits until everything is written, but not longer than limit. What is not
// written then is lost; the log says how much.
func (j *Journal) Flush(limit time.Duration) {
	if left := j.entries.Flush(limit); left > 0 {
		j.logger.Error("the journal does not read; entries about decisions are lost", "entries", left)
	}
}

func (j *Journal) add(message string, priority journal.Priority, fields map[string]string, important bool) {
	j.entries.Add(entry{message, priority, fields, time.Now()}, important)
}

func (e entry) size() int {
	size := len(e.message)
	for name, value := range e.fields {
		size += len(name) + len(value)
	}
	return size
}

func (j *Journal) write(e entry) {
	if time.Since(e.made) >= lateAfter {
		e.fields["MADE_USEC"] = strconv.FormatInt(e.made.UnixMicro(), 10)
	}
	if err := j.send(e.message, e.priority, e.fields); err != nil {
		j.logger.Error("cannot write to the journal", "error", err, "message", e.message)
	}
}

// lost writes how many entries were dropped.
func (j *Journal) lost(n int) {
	message := fmt.Sprintf("%d entries about decisions are lost: the journal did not read them in time", n)
	j.write(entry{message, journal.PriErr, map[string]string{"MESSAGE_ID": LostID, "LOST": strconv.Itoa(n)}, time.Now()})
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
	}
	known(f, "PEER_BUS_NAME", d.Caller.Sender)
	known(f, "AUTHORISED_BY", d.Authorisation.By)
	known(f, "POLKIT_ACTION", d.Authorisation.Action)
	known(f, "POLKIT_VERDICT", d.Authorisation.Verdict)
	if d.Outcome {
		f["MESSAGE_ID"], f["OUTCOME"] = OutcomeID, outcome(d)
	} else {
		f["DECISION"] = d.Verdict()
	}
	if d.Err != nil {
		f["REASON"] = clean(d.Err.Error(), maxLine)
	}
	return f
}

// known adds a field that does not apply to every entry.
func known(fields map[string]string, name, value string) {
	if value != "" {
		fields[name] = value
	}
}

func outcome(d service.Decision) string {
	if d.Err != nil {
		return "failed"
	}
	return "ready"
}

func message(d service.Decision) string {
	verb := d.Verdict()
	if d.Outcome {
		verb = outcome(d)
	}
	text := fmt.Sprintf("%s %s: ", d.Method, verb)
	switch {
	case d.SidecarID != "":
		text += d.SidecarID + " "
	case d.Profile != "":
		text += d.Profile + " "
	}
	text += fmt.Sprintf("for %s, pid %d, uid %d", orHost(d.Caller.Agent), d.Caller.PID, d.Caller.UID)
	if d.Err != nil {
		text += ": " + clean(d.Err.Error(), maxLine)
	}
	return text
}

// origin is whom a call comes from: an agent, root, or other users of the host, whose
// entries shall not push out those of the others. A user whom polkit lets in is one of
// its own, for each method: who may signal shall not hide it behind much looking, nor
// behind what is refused to others. No agent's name has a space.
func origin(d service.Decision) string {
	switch c := d.Caller; {
	case c.Agent != "":
		return c.Agent
	case c.UID == 0:
		return "the host"
	case d.Authorisation.By == service.ByPolkit && d.Err == nil:
		return fmt.Sprintf("user %d (%s)", c.UID, d.Method)
	}
	return "other users"
}

func orHost(agent string) string {
	if agent == "" {
		return "host"
	}
	return agent
}
