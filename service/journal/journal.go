// Package journal writes the service's decisions to systemd's journal, and reads the output
// of a unit's processes from it.
//
// A decision is one structured entry. An allowed launch is written before it begins, a stop
// or a signal when it is over. The outcome of an allowed launch is another entry. Find the decisions about one agent with
//
//	journalctl MESSAGE_ID=6f2fc8d1c3f14fd0a34f3c7b6a1e9d52 AGENT=neutron-dhcp
package journal

import (
	"cmp"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"tripleo.io/sidecar/internal/backlog"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service"
)

// MESSAGE_ID of the entries (systemd.journal-fields(7)).
const (
	MessageID = "6f2fc8d1c3f14fd0a34f3c7b6a1e9d52" // a decision
	OutcomeID = "0d6c1b0f4f6e4a6f9b8f5d0e6a0c7e31" // the outcome of an allowed launch
	LostID    = "dc41e4dbf0974922b32ce48281f51129" // decisions that could not be written
)

// Bounds of the entries that wait for a journald that does not read. An entry has some
// hundreds of bytes, at most four thousand.
const (
	maxEntries    = 4096
	maxEntryBytes = 8 << 20
)

// lateAfter is the age from which an entry has its own time in MADE_USEC: journald's is the
// time at which it reads the entry.
const lateAfter = time.Second

// send writes to the journal. It may block for ever.
type send func(message string, priority journal.Priority, fields map[string]string) error

// Journal is the system's journal. Use New.
type Journal struct {
	send    send
	logger  *slog.Logger
	callers *throttle
	entries *backlog.Backlog[entry]
	// programs bounds journalctl, a little later than readTimeout does.
	programs *bounded.Calls

	unwritten atomic.Uint64 // entries that the journal did not take

	flushing sync.Mutex // held while journald writes what it has
	flushed  time.Time  // when the last such writing began
	flushErr error      // its error
}

// entry is what waits to be written.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
	made     time.Time
}

// New returns the journal of this host. Errors in writing go to logger, and do not stop the
// service.
func New(logger *slog.Logger) *Journal { return newJournal(journal.Send, logger, time.Now) }

func newJournal(send send, logger *slog.Logger, now func() time.Time) *Journal {
	j := &Journal{send: send, logger: logger, callers: newThrottle(now), programs: bounded.New(readTimeout+time.Second, maxHanging, maxHanging)}
	j.entries = backlog.New(backlog.Config[entry]{
		Items: maxEntries, Bytes: maxEntryBytes, Size: entry.size, Write: j.write, Lost: j.lost,
	})
	return j
}

// Record queues the entry about one decision, and does not wait for journald. Entries beyond
// a caller's limit are counted, not written: otherwise one caller could make the journal
// rotate entries about other agents away. journald's own limit does not know callers, and
// sidecard.service raises it out of reach. Stops, and launches that start something, are
// always written, because each costs its caller a process; and so is what becomes of a sidecar
// after a boot, because nobody is told.
//
// While journald does not read, entries wait in a queue. A full queue drops and counts
// them, launches and stops last.
func (j *Journal) Record(d service.Decision) {
	shown := d.Outcome || d.Method == "Restore" || d.Verdict() == "allowed" && !d.Kept && (d.Method == "Launch" || d.Method == "Stop")
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

// Flush waits until everything is written, but not longer than limit. Entries that are not
// written then are lost; the log has their number.
func (j *Journal) Flush(limit time.Duration) {
	if left := j.entries.Flush(limit); left > 0 {
		j.logger.Error("the journal does not read; entries about decisions are lost", "entries", left)
	}
}

// Lost returns how many entries are lost so far, because they did not fit or could not be
// written. Entries beyond a caller's limit do not count.
func (j *Journal) Lost() uint64 { return j.entries.Dropped() + j.unwritten.Load() }

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
		j.unwritten.Add(1)
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
	for name, value := range map[string]string{
		"PEER_BUS_NAME":  d.Caller.Sender,
		"AUTHORISED_BY":  d.Authorisation.By,
		"POLKIT_ACTION":  d.Authorisation.Action,
		"POLKIT_VERDICT": d.Authorisation.Verdict,
	} {
		if value != "" {
			f[name] = value
		}
	}
	if d.Outcome {
		f["MESSAGE_ID"], f["OUTCOME"] = OutcomeID, outcome(d)
	} else {
		f["DECISION"] = d.Verdict()
	}
	if d.Err != nil {
		f["REASON"] = clean(d.Err.Error())
	}
	if c := d.Runtime; c != nil && !d.Kept && (c.Path != "" || c.Missing != nil) {
		f["RUNTIME"] = cmp.Or(c.Path, ownRuntime)
	}
	return f
}

// ownRuntime stands for the OCI runtime that the engine chooses by itself.
const ownRuntime = "default"

// fallback says which OCI runtimes the profile would rather have, if the host has none of them.
func fallback(d service.Decision) string {
	if d.Runtime == nil || d.Runtime.Missing == nil || d.Kept || d.Outcome {
		return ""
	}
	return fmt.Sprintf("; OCI runtime %s, as the host has none of %s",
		cmp.Or(d.Runtime.Path, ownRuntime), strings.Join(d.Runtime.Missing, ", "))
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
	text += fmt.Sprintf("for %s, pid %d, uid %d", cmp.Or(d.Caller.Agent, "host"), d.Caller.PID, d.Caller.UID) + fallback(d)
	if d.Err != nil {
		text += ": " + clean(d.Err.Error())
	}
	return text
}

// origin is the caller whose limit counts: an agent, root, or the other users of the host
// together. A user whom polkit authorises has a limit for each method, so that it cannot
// hide a signal behind many lists, nor behind calls that are refused to others. The name
// of an agent has no space.
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

const (
	// throttleBurst entries about one origin are written in throttleInterval.
	throttleBurst    = 100
	throttleInterval = 10 * time.Second
)

// throttle counts entries by origin. Agents and users whom polkit authorises bound the
// number of origins.
type throttle struct {
	now     func() time.Time
	mu      sync.Mutex
	origins map[string]*window
}

type window struct {
	began      time.Time
	shown      int
	suppressed int
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, origins: map[string]*window{}}
}

// pass reports whether an entry may be written, and how many were not in the interval that
// has just ended.
func (t *throttle) pass(origin string) (pass bool, suppressed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.origins[origin]
	if w == nil || t.now().Sub(w.began) >= throttleInterval {
		if w != nil {
			suppressed = w.suppressed
		}
		w = &window{began: t.now()}
		t.origins[origin] = w
	}
	if w.shown >= throttleBurst {
		w.suppressed++
		return false, suppressed
	}
	w.shown++
	return true, suppressed
}
