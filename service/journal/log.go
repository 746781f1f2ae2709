package journal

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service"
)

const (
	// maxRecord is the longest entry that is read, as JSON. A longer one is left out.
	maxRecord = 1 << 20
	// A follower asks journald every aliveInterval whether it is alive. Two answers in a row
	// that do not come within aliveTimeout end it: one may be a restart of journald.
	aliveInterval = 5 * time.Second
	aliveTimeout  = 2 * time.Second
	// journald's varlink socket, on which it answers beside reading what is logged.
	aliveSocket = "/run/systemd/journal/io.systemd.journal"
)

// logFields are read of each entry (systemd.journal-fields(7)).
const logFields = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID,_SYSTEMD_UNIT,_SYSTEMD_INVOCATION_ID,UNIT,INVOCATION_ID"

// Entries returns the newest entries that the query selects, the oldest first. With an error
// it returns those that could be read: a journald that does not answer has written most of
// them before.
func (j *Journal) Entries(ctx context.Context, q service.LogQuery) ([]interfaces.LogEntry, service.LogEnd, error) {
	end := service.LogEnd{USec: time.Now().UnixMicro()}
	_, syncErr := j.journalctl(ctx, syncTimeout, "--sync")
	if syncErr != nil {
		syncErr = errors.New("journald does not answer; its newest entries may be missing")
	}
	if q.Lines == 0 {
		return nil, end, syncErr
	}
	args := []string{"--lines=" + strconv.Itoa(q.Lines)}
	if q.SinceUSec != nil {
		args = append(args, since(*q.SinceUSec))
	}
	read, err := bounded.Do(j.programs, "", func() (logRead, error) { return readLog(ctx, q, args) }, nil)
	end.Cursor = read.cursor
	return read.entries, end, cmp.Or(err, syncErr)
}

// logRead is what was read, with the cursor of the newest entry.
type logRead struct {
	entries []interfaces.LogEntry
	cursor  string
}

// readLog reads all that a journalctl writes, at most for readTimeout.
func readLog(ctx context.Context, q service.LogQuery, args []string) (read logRead, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("journalctl took longer than %v; ask for fewer lines", readTimeout))
	defer cancel()
	out, wait, err := startJournalctl(ctx, q, args)
	if err != nil {
		return read, err
	}
	records(out, func(r record) bool {
		read.cursor = r.Cursor
		if e, ok := r.entry(q); ok {
			read.entries = append(read.entries, e)
		}
		return true
	})
	err = wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return read, err
}

// Follow sends entries that are newer than end until ctx ends, send fails, or the journal
// cannot be followed any more. It survives a restart of journald.
func (j *Journal) Follow(ctx context.Context, q service.LogQuery, end service.LogEnd, send func(interfaces.LogEntry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := "--after-cursor=" + end.Cursor
	if end.Cursor == "" {
		from = since(end.USec)
	}
	entries, ended := make(chan interfaces.LogEntry), make(chan error, 1)
	if err := bounded.Err(j.programs, "", func() error {
		out, wait, err := startJournalctl(ctx, q, []string{"--follow", "--no-tail", from})
		if err == nil {
			go pass(ctx, q, out, wait, entries, ended)
		}
		return err
	}); err != nil {
		return err
	}
	err := j.follow(ctx, entries, ended, send)
	cancel()
	// A journalctl that SIGKILL does not end counts as one that hangs.
	_ = bounded.Err(j.programs, "", func() error {
		for range entries { // closed at its end
		}
		return nil
	})
	return err
}

// pass passes on the entries of a journalctl, and then says how it ended.
func pass(ctx context.Context, q service.LogQuery, out io.Reader, wait func() error, entries chan<- interfaces.LogEntry, ended chan<- error) {
	defer close(entries)
	records(out, func(r record) bool {
		e, ok := r.entry(q)
		if !ok {
			return true
		}
		select {
		case entries <- e:
			return true
		case <-ctx.Done():
			return false
		}
	})
	ended <- wait()
}

// follow sends entries and watches journald, which a journalctl that follows does not need.
func (j *Journal) follow(ctx context.Context, entries <-chan interfaces.LogEntry, ended <-chan error, send func(interfaces.LogEntry) error) error {
	ticker := time.NewTicker(aliveInterval)
	defer ticker.Stop()
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return fmt.Errorf("journalctl ended: %v", err)
		case e, ok := <-entries:
			if !ok {
				entries = nil // ended has the reason
				continue
			}
			if err := send(e); err != nil {
				return err
			}
		case <-ticker.C:
			if alive(ctx) {
				missed = 0
			} else if missed++; missed == 2 {
				return errors.New("journald does not answer")
			}
		}
	}
}

// alive reports whether journald answers. journalctl --sync would have it write to the disk.
func alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", aliveSocket)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(aliveTimeout))
	if _, err = conn.Write([]byte(`{"method":"org.varlink.service.GetInfo"}` + "\x00")); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

// since is an option of journalctl.
func since(usec int64) string {
	return fmt.Sprintf("--since=@%d.%06d", usec/1e6, usec%1e6)
}

// startJournalctl starts journalctl(1) for the query. Its output must be read to the end, or
// ctx end, before wait is called.
func startJournalctl(ctx context.Context, q service.LogQuery, args []string) (out io.Reader, wait func() error, err error) {
	args = append([]string{"--quiet", "--no-pager", "--all", "--output=json", "--output-fields=" + logFields}, args...)
	cmd := exec.CommandContext(ctx, "journalctl", append(args, matches(q)...)...)
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	return out, cmd.Wait, cmd.Start()
}

// matches are journalctl's terms for the query. All but AGENT= and PROFILE= are trusted
// fields, which journald sets: any process can send the others. record.entry compares those by
// the unit's name. systemd 252 does not put AGENT= into what it says about a unit.
func matches(q service.LogQuery) []string {
	if q.ID != nil {
		return []string{"_SYSTEMD_UNIT=" + q.ID.Unit(), "+", "_PID=1", "UNIT=" + q.ID.Unit()}
	}
	if len(q.Agents) == 0 {
		return []string{"_SYSTEMD_UNIT="} // of nobody; no terms would match everything
	}
	var terms, profile []string
	if q.Profile != "" {
		profile = []string{"PROFILE=" + q.Profile}
	}
	for _, agent := range q.Agents {
		terms = append(append(terms, "+", "_SYSTEMD_SLICE="+service.SliceOf(agent)), profile...)
		terms = append(append(terms, "+", "_PID=1", "AGENT="+agent), profile...)
	}
	return terms[1:]
}

// record is an entry as journalctl writes it.
type record struct {
	Cursor         string `json:"__CURSOR"`
	Time           string `json:"__REALTIME_TIMESTAMP"`
	Message        text   `json:"MESSAGE"`
	Priority       text   `json:"PRIORITY"`
	Identifier     text   `json:"SYSLOG_IDENTIFIER"`
	PID            text   `json:"_PID"`
	Unit           text   `json:"_SYSTEMD_UNIT"`
	Invocation     text   `json:"_SYSTEMD_INVOCATION_ID"`
	SaidUnit       text   `json:"UNIT"`
	SaidInvocation text   `json:"INVOCATION_ID"`
}

// text is a field's first value: a string, or an array of the bytes of a value that is not
// UTF-8, or has control characters. Several values are an array of such.
type text string

// UnmarshalJSON accepts every value, so that no entry can keep others from being read.
func (t *text) UnmarshalJSON(value []byte) error {
	*t = text(textOf(value, true))
	return nil
}

func textOf(value jsontext.Value, several bool) (s string) {
	switch value.Kind() {
	case '"':
		_ = json.Unmarshal(value, &s, jsontext.AllowInvalidUTF8(true))
	case '[':
		var codes []uint16
		if json.Unmarshal(value, &codes) == nil {
			var b strings.Builder
			for _, code := range codes {
				b.WriteByte(byte(code))
			}
			return b.String()
		}
		var values []jsontext.Value
		if several && json.Unmarshal(value, &values, jsontext.AllowInvalidUTF8(true)) == nil && len(values) > 0 {
			return textOf(values[0], false)
		}
	}
	return s
}

// records passes the entries of a journalctl's output on, until take returns false. Lines that
// are not entries are skipped.
func records(out io.Reader, take func(record) bool) {
	in := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := readLine(in)
		if err != nil {
			return
		}
		if r, ok := parseRecord(line); ok && !take(r) {
			return
		}
	}
}

func parseRecord(line []byte) (r record, ok bool) {
	err := json.Unmarshal(line, &r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return r, err == nil
}

// readLine returns the next line, nothing of one that is longer than maxRecord.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for long := false; ; {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxRecord; long {
			line = nil
		} else {
			line = append(line, part...)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// entry returns the entry, if the query selects it. _PID and _SYSTEMD_UNIT say whose it is:
// journald sets them itself. Only what process 1 says about a unit is not of the unit that the
// process belongs to.
func (r record) entry(q service.LogQuery) (interfaces.LogEntry, bool) {
	unit, invocation, systemd := r.Unit, r.Invocation, r.PID == "1"
	if systemd {
		unit, invocation = r.SaidUnit, r.SaidInvocation
	}
	id, ok := interfaces.ParseUnit(string(unit))
	if !ok || !q.Selects(id) {
		return interfaces.LogEntry{}, false
	}
	e := interfaces.LogEntry{
		ID: id.String(), Priority: 6, Systemd: systemd,
		Identifier: limited(string(r.Identifier), maxIdentifier), Message: limited(string(r.Message), interfaces.MaxLogMessage),
	}
	e.TimeUSec, _ = strconv.ParseInt(r.Time, 10, 64)
	if n, err := strconv.ParseInt(string(r.Priority), 10, 8); err == nil && n >= 0 && n <= 7 {
		e.Priority = n
	}
	if n, err := strconv.ParseInt(string(r.PID), 10, 64); err == nil {
		e.ProcessID = &n
	}
	if invocationID.MatchString(string(invocation)) {
		e.InvocationID = new(string(invocation))
	}
	return e, true
}

// maxIdentifier is how many bytes of an identifier are answered.
const maxIdentifier = 256

// limited returns valid UTF-8 without NUL, which D-Bus cannot carry, of at most n bytes and "…".
func limited(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), n+1)], "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
