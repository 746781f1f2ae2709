package journal

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// maxEntry is the longest entry that is read, as JSON. A longer one is left out.
const maxEntry = 1 << 20

// rawEntry is an entry as journalctl writes it.
type rawEntry struct {
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

// rawEntries passes the entries of a journalctl's output on, until take returns false. Lines that
// are not entries are skipped.
func rawEntries(out io.Reader, take func(rawEntry) bool) {
	in := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := readLine(in)
		if err != nil {
			return
		}
		if r, ok := parseEntry(line); ok && !take(r) {
			return
		}
	}
}

func parseEntry(line []byte) (r rawEntry, ok bool) {
	err := json.Unmarshal(line, &r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return r, err == nil
}

// readLine returns the next line, nothing of one that is longer than maxEntry.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for long := false; ; {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxEntry; long {
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
func (r rawEntry) entry(q service.LogQuery) (interfaces.LogEntry, bool) {
	unit, invocation, systemd := r.Unit, r.Invocation, r.PID == "1"
	if systemd {
		unit, invocation = r.SaidUnit, r.SaidInvocation
	}
	id, ok := interfaces.ParseUnit(string(unit))
	if !ok || !q.Selects(id) {
		return interfaces.LogEntry{}, false
	}
	if string(r.Identifier) == id.String() { // the interface promises the profile's name for standard output and error
		r.Identifier = text(id.Profile)
	}
	e := interfaces.LogEntry{
		ID: id.String(), TimeUSec: r.usec(), Priority: 6, Systemd: systemd,
		Identifier: limited(string(r.Identifier), maxIdentifier), Message: limited(string(r.Message), interfaces.MaxLogMessage),
	}
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

// usec is when journald read the entry, in µs since 1970.
func (r rawEntry) usec() int64 {
	usec, _ := strconv.ParseInt(r.Time, 10, 64)
	return usec
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
