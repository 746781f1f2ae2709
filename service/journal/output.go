package journal

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tripleo.io/sidecar/internal/bounded"
)

const (
	outputLines = 20
	// syncTimeout is how long journald may take to write what it has, and readTimeout
	// how long its files may take to be read. Each has its own time: a journald that
	// does not answer has written most of it before.
	syncTimeout = 2 * time.Second
	readTimeout = 5 * time.Second
	maxHanging  = 16        // journalctls that not even SIGKILL ends, on a disk that hangs
	maxOutput   = 256 << 10 // bytes read from journalctl
	maxLine     = 1024      // bytes
)

var invocationID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Output returns the last lines that the processes of a unit's invocation wrote
// to stdout and stderr, oldest first, without control characters. It is what the
// caller of a failed launch gets to see, so what podman and systemd log about the
// unit is left out. nil if the journal cannot be read in time.
//
// It runs journalctl(1): the journal's files have no reader in pure Go, and a
// daemon linked against libsystemd would not be static.
func (j *Journal) Output(ctx context.Context, invocation string) []string {
	if !invocationID.MatchString(invocation) {
		return nil
	}
	// What a process wrote just before it ended may still be on its way.
	if _, err := j.journalctl(ctx, syncTimeout, "--sync"); err != nil {
		j.logger.Warn("cannot sync the journal", "error", err)
	}
	text, err := j.journalctl(ctx, readTimeout, "--quiet", "--no-pager", "--all", "--output=cat",
		"--lines="+strconv.Itoa(outputLines), "_TRANSPORT=stdout", "_SYSTEMD_INVOCATION_ID="+invocation)
	if err != nil {
		j.logger.Warn("cannot read the journal", "error", err)
		return nil
	}
	return split(string(text[max(0, len(text)-maxOutput):]))
}

// journalctl runs it for as long as limit.
func (j *Journal) journalctl(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return bounded.Do(j.programs, "", exec.CommandContext(ctx, "journalctl", args...).Output, nil)
}

func split(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = clean(strings.TrimRight(line, "\n"), maxLine); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-outputLines):]
}

// clean makes text from a process fit to be shown: no control characters, which
// could play with a terminal, valid UTF-8, not too long.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
