package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service/launcher"
)

const (
	stdout      = "stdout" // _TRANSPORT of standard output and error
	outputLines = 20
	// readLines is how many lines of the unit are read: another run may have written since.
	readLines = 10 * outputLines
	// syncTimeout bounds journald's writing of what it has, and readTimeout the reading of
	// its files. They are apart because a journald that does not answer has written most
	// of it before.
	syncTimeout = 2 * time.Second
	readTimeout = 5 * time.Second
	maxHanging  = 16   // journalctl processes that SIGKILL does not end, on a disk that hangs
	maxLine     = 1024 // bytes

	denialLines = 500       // lines of the kernel that are searched for denials
	maxDenials  = 256 << 10 // bytes of them
	maxAudit    = 1 << 20   // bytes read from the end of auditd's log
	auditLog    = "/var/log/audit/audit.log"
)

var invocationID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Output returns the last lines that the processes of a unit's invocation wrote to stdout
// and stderr, oldest first, without control characters. If the payload wrote nothing there,
// it returns the lines that the payload logged with syslog(3). The caller of a failed
// launch gets them, so the lines of podman and systemd about the unit are left out. nil if
// the journal cannot be read in time.
//
// It runs journalctl(1): the journal's files have no reader in pure Go, and a daemon linked
// against libsystemd would not be static.
func (j *Journal) Output(ctx context.Context, id interfaces.ID, invocation string, started time.Time) []string {
	if !invocationID.MatchString(invocation) {
		return nil
	}
	// journald may not have written a process's last lines yet.
	if err := j.flush(ctx); err != nil {
		j.logger.Warn("cannot sync the journal", "error", err)
	}
	r := run{id, invocation, started}
	lines, err := j.linesOf(ctx, r, stdout)
	if err == nil && !slices.ContainsFunc(lines, func(line string) bool { return !strings.HasPrefix(line, launcher.LinePrefix) }) {
		var logged []string
		logged, err = j.linesOf(ctx, r, "syslog")
		lines = append(logged, lines...)
	}
	if err != nil {
		j.logger.Warn("cannot read the journal", "error", err)
		return nil
	}
	return lines[max(0, len(lines)-outputLines):]
}

// run is an invocation of a unit.
type run struct {
	id         interfaces.ID
	invocation string
	started    time.Time
}

// linesOf returns a run's last lines of one transport (_TRANSPORT=, systemd.journal-fields(7)).
func (j *Journal) linesOf(ctx context.Context, r run, transport string) ([]string, error) {
	args := []string{
		"--reverse", "--lines=" + strconv.Itoa(readLines),
		"_TRANSPORT=" + transport, "_SYSTEMD_INVOCATION_ID=" + r.invocation,
		"+", "_TRANSPORT=" + transport, "_SYSTEMD_UNIT=" + r.id.Unit(),
	}
	if transport == stdout { // with syslog(3) a payload chooses its identifier
		args = append(args, "+", "_TRANSPORT="+transport, "SYSLOG_IDENTIFIER="+r.id.String())
	}
	return bounded.Do(j.programs, "", func() (lines []string, err error) {
		err = readEntries(ctx, args, func(e rawEntry) {
			if line := clean(strings.TrimRight(string(e.Message), "\n")); line != "" && r.has(e) {
				lines = append(lines, line)
			}
		})
		lines = lines[:min(len(lines), outputLines)] // the newest come first
		slices.Reverse(lines)
		return lines, err
	}, nil)
}

// has reports whether an entry that linesOf selects is of the run. journald learns the unit and the
// invocation when it reads a line. After the end of the unit it cannot, and the line has no
// invocation. If journald has read a syslog(3) message of the exited process first, it has cached
// the process without a unit (client_context_get), and the line has no unit either: only the
// identifier of its stream tells whose it is.
func (r run) has(e rawEntry) bool {
	if e.Invocation != "" {
		return string(e.Invocation) == r.invocation
	}
	return (e.Unit == "" || string(e.Unit) == r.id.Unit()) && e.usec() >= r.started.UnixMicro()
}

// denial matches the lines about a denial of AppArmor or SELinux.
var denial = regexp.MustCompile(`apparmor="DENIED"|avc: +denied`)

// Denials returns the kernel's lines about denials of its security modules since then,
// oldest first: from the journal, and from the log of auditd(8), which may take them all.
// nil if they cannot be read in time.
func (j *Journal) Denials(ctx context.Context, since time.Time) []string {
	text, err := j.journalctl(ctx, readTimeout, "--quiet", "--no-pager", "--all", "--output=cat",
		"--lines="+strconv.Itoa(denialLines), fmt.Sprintf("--since=@%d", since.Unix()), "_TRANSPORT=kernel", "+", "_TRANSPORT=audit", "_AUDIT_TYPE=1400")
	if err != nil {
		j.logger.Warn("cannot read the kernel's lines in the journal", "error", err)
	}
	audit, err := bounded.Do(j.programs, "", func() ([]byte, error) { return tail(auditLog, maxAudit) }, nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.logger.Warn("cannot read the log of auditd", "error", err)
	}
	var lines []string
	for line := range strings.Lines(string(text[max(0, len(text)-maxDenials):])) {
		if denial.MatchString(line) {
			lines = append(lines, clean(line))
		}
	}
	return append(lines, auditLines(string(audit), since)...)
}

// auditLines returns the denials since then in a log of auditd, whose first line may be
// incomplete.
func auditLines(text string, since time.Time) []string {
	var lines []string
	for line := range strings.Lines(text) {
		stamp := auditStamp.FindStringSubmatch(line)
		if stamp == nil || !denial.MatchString(line) {
			continue
		}
		line, _, _ = strings.Cut(line, "\x1d") // what auditd adds (log_format = ENRICHED)
		if seconds, err := strconv.ParseInt(stamp[1], 10, 64); err == nil && seconds >= since.Unix() {
			lines = append(lines, clean(line))
		}
	}
	return lines
}

// auditStamp matches the seconds of a line in auditd's log.
var auditStamp = regexp.MustCompile(`^type=\S+ msg=audit\(([0-9]{1,12})\.`)

// tail returns the last bytes of a file.
func tail(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-limit)
	return io.ReadAll(io.NewSectionReader(file, start, limit))
}

// journalctl runs journalctl(1), at most for limit.
func (j *Journal) journalctl(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return bounded.Do(j.programs, "", exec.CommandContext(ctx, "journalctl", args...).Output, nil)
}

// flush has journald write what it has. journald reads nothing meanwhile, so only one flush runs
// at a time, and callers that wait for it share the next one.
func (j *Journal) flush(ctx context.Context) error {
	arrived := time.Now()
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.flushed.Before(arrived) {
		j.flushed = time.Now()
		_, j.flushErr = j.journalctl(context.WithoutCancel(ctx), syncTimeout, "--sync")
	}
	return j.flushErr
}

// clean makes text of a process safe for a terminal: valid UTF-8 without control
// characters, cut at maxLine.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}
