package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service"
)

const (
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
	syncErr := j.flush(ctx)
	if syncErr != nil {
		syncErr = errors.New("journald does not answer; its newest entries may be missing")
	}
	if q.Lines == 0 {
		return nil, end, syncErr
	}
	// With --since but without --reverse, systemd 252 would show the oldest lines since then.
	args := []string{"--reverse", "--lines=" + strconv.Itoa(q.Lines)}
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

// readLog reads the entries of the query, the newest first.
func readLog(ctx context.Context, q service.LogQuery, args []string) (read logRead, err error) {
	err = readEntries(ctx, append(args, matches(q)...), func(r rawEntry) {
		read.cursor = cmp.Or(read.cursor, r.Cursor)
		if e, ok := r.entry(q); ok {
			read.entries = append(read.entries, e)
		}
	})
	slices.Reverse(read.entries)
	return read, err
}

// readEntries passes all entries that a journalctl writes to take, at most for readTimeout.
func readEntries(ctx context.Context, args []string, take func(rawEntry)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("journalctl took longer than %v; ask for fewer lines", readTimeout))
	defer cancel()
	out, wait, err := startJournalctl(ctx, args)
	if err != nil {
		return err
	}
	rawEntries(out, func(r rawEntry) bool {
		take(r)
		return true
	})
	err = wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
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
		out, wait, err := startJournalctl(ctx, append([]string{"--follow", "--no-tail", from}, matches(q)...))
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
	rawEntries(out, func(r rawEntry) bool {
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

// startJournalctl starts a journalctl(1) that writes JSON. Its output must be read to the end, or
// ctx end, before wait is called.
func startJournalctl(ctx context.Context, args []string) (out io.Reader, wait func() error, err error) {
	args = append([]string{"--quiet", "--no-pager", "--all", "--output=json", "--output-fields=" + logFields}, args...)
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	return out, cmd.Wait, cmd.Start()
}

// matches are journalctl's terms for the query. All but AGENT= and PROFILE= are trusted
// fields, which journald sets: any process can send the others. rawEntry.entry compares those by
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
