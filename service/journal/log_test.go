package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

const (
	loggedID   = "neutron-dhcp.dnsmasq.0123456789ab"
	loggedUnit = "sidecar-" + loggedID + ".service"
	otherUnit  = "sidecar-neutron-l3.radvd.0123456789ab.service"
	invocation = "0123456789abcdef0123456789abcdef"
)

// ofDHCP selects the log of the agent neutron-dhcp.
var ofDHCP = service.LogQuery{Agents: []string{"neutron-dhcp"}, Lines: 10}

// TestLogEntryOf takes entries apart as journalctl writes them. Only what journald itself says
// of the process counts for whose an entry is.
func TestLogEntryOf(t *testing.T) {
	t.Parallel()
	const own = `"_SYSTEMD_UNIT":"` + loggedUnit + `","_PID":"42"`
	entry := func(change func(*interfaces.LogEntry)) *interfaces.LogEntry {
		e := &interfaces.LogEntry{ID: loggedID, Priority: 6, ProcessID: new(int64(42))}
		change(e)
		return e
	}
	message := func(text string) *interfaces.LogEntry {
		return entry(func(e *interfaces.LogEntry) { e.Message = text })
	}
	for name, test := range map[string]struct {
		line string
		want *interfaces.LogEntry
	}{
		"all of it": {
			`{` + own + `,"__REALTIME_TIMESTAMP":"7","PRIORITY":"3","SYSLOG_IDENTIFIER":"d","_SYSTEMD_INVOCATION_ID":"` + invocation + `","MESSAGE":"m"}`,
			&interfaces.LogEntry{ID: loggedID, TimeUSec: 7, Priority: 3, Identifier: "d", ProcessID: new(int64(42)), InvocationID: new(invocation), Message: "m"},
		},
		"systemd's": {
			`{"_SYSTEMD_UNIT":"init.scope","_PID":"1","UNIT":"` + loggedUnit + `","INVOCATION_ID":"` + invocation + `","MESSAGE":"m"}`,
			&interfaces.LogEntry{ID: loggedID, Priority: 6, ProcessID: new(int64(1)), InvocationID: new(invocation), Systemd: true, Message: "m"},
		},
		"standard output": {
			`{` + own + `,"SYSLOG_IDENTIFIER":"` + loggedID + `","MESSAGE":"m"}`,
			entry(func(e *interfaces.LogEntry) { e.Identifier, e.Message = "dnsmasq", "m" }),
		},
		"bytes":                {`{` + own + `,"MESSAGE":[255,27,0,65]}`, message("\uFFFD\x1b\uFFFDA")},
		"several values":       {`{` + own + `,"MESSAGE":["a","b"]}`, message("a")},
		"several of bytes":     {`{` + own + `,"MESSAGE":[[97,98],"b"]}`, message("ab")},
		"no value":             {`{` + own + `,"MESSAGE":null,"PRIORITY":"9"}`, message("")},
		"odd values":           {`{` + own + `,"MESSAGE":{"a":1},"PRIORITY":[],"SYSLOG_IDENTIFIER":[[[1]]]}`, message("")},
		"another agent's":      {`{"_SYSTEMD_UNIT":"` + otherUnit + `","_PID":"42"}`, nil},
		"claims to be ours":    {`{"_SYSTEMD_UNIT":"evil.service","_PID":"42","UNIT":"` + loggedUnit + `","SIDECAR_ID":"` + loggedID + `"}`, nil},
		"claims another's":     {`{` + own + `,"UNIT":"` + otherUnit + `","MESSAGE":"m"}`, message("m")},
		"of no unit":           {`{"_PID":"42","UNIT":"` + loggedUnit + `"}`, nil},
		"systemd's of another": {`{"_SYSTEMD_UNIT":"` + loggedUnit + `","_PID":"1","UNIT":"` + otherUnit + `"}`, nil},
		"no sidecar's unit":    {`{"_SYSTEMD_UNIT":"sidecar-prepare-neutron-dhcp-dnsmasq-x.service","_PID":"42"}`, nil},
		"no entry":             {`-- No entries --`, nil},
	} {
		r, ok := parseEntry([]byte(test.line))
		got, selected := r.entry(ofDHCP)
		if (ok && selected) != (test.want != nil) {
			t.Errorf("%s: parsed %v, selected %v", name, ok, selected)
		}
		if test.want != nil {
			if d := cmp.Diff(*test.want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

// TestLogLongLines: a message is cut, and an entry that is too long keeps none from being read.
func TestLogLongLines(t *testing.T) {
	t.Parallel()
	line := func(length int) string {
		return fmt.Sprintf(`{"_SYSTEMD_UNIT":%q,"_PID":"42","MESSAGE":%q}`+"\n", loggedUnit, strings.Repeat("é", length/2))
	}
	var got []int
	rawEntries(strings.NewReader(line(2)+line(maxEntry)+line(5000)+line(4)+`{"_SYSTEMD`), func(r rawEntry) bool {
		e, _ := r.entry(ofDHCP)
		got = append(got, len(e.Message))
		return true
	})
	if d := cmp.Diff([]int{2, interfaces.MaxLogMessage + len("…"), 4}, got); d != "" {
		t.Errorf("lengths (-want +got):\n%s", d)
	}
}

// TestLogMatches: no query matches the whole journal.
func TestLogMatches(t *testing.T) {
	t.Parallel()
	id, _ := interfaces.ParseID(loggedID)
	for want, q := range map[string]service.LogQuery{
		"_SYSTEMD_UNIT=": {Profile: "radvd"},
		"_SYSTEMD_UNIT=" + loggedUnit + " + _PID=1 UNIT=" + loggedUnit:                                      {ID: &id},
		"_SYSTEMD_SLICE=sidecar-a.slice + _PID=1 AGENT=a":                                                   {Agents: []string{"a"}},
		"_SYSTEMD_SLICE=sidecar-a.slice PROFILE=p + _PID=1 AGENT=a PROFILE=p":                               {Agents: []string{"a"}, Profile: "p"},
		"_SYSTEMD_SLICE=sidecar-a.slice + _PID=1 AGENT=a + _SYSTEMD_SLICE=sidecar-b.slice + _PID=1 AGENT=b": {Agents: []string{"a", "b"}},
	} {
		if got := strings.Join(matches(q), " "); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// journalctlOf has programs run the script in place of journalctl.
func journalctlOf(t *testing.T, script string) *Journal {
	t.Helper()
	directory := t.TempDir()
	text := "#!/bin/sh\ncase \"$*\" in --sync) echo x >>" + directory + "/syncs; sleep 0.1; exit 0;; esac\n" + script
	if err := os.WriteFile(filepath.Join(directory, "journalctl"), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory+":"+os.Getenv("PATH"))
	return New(slog.New(slog.DiscardHandler))
}

// TestOutputOfAFailedLaunch: a line without a unit is taken by its identifier if it is of standard
// output or error. With syslog(3) every payload can choose that.
func TestOutputOfAFailedLaunch(t *testing.T) {
	const identified = "SYSLOG_IDENTIFIER=" + loggedID
	const tooOld = `{"MESSAGE":"old","__REALTIME_TIMESTAMP":"1"}`
	line := func(fields, message string) string {
		return fmt.Sprintf(`{%s"MESSAGE":%q,"__REALTIME_TIMESTAMP":"9000000"}`, fields, message)
	}
	for name, test := range map[string]struct{ stdout, syslog, want string }{
		"its own":               {line(`"_SYSTEMD_UNIT":"`+loggedUnit+`","_SYSTEMD_INVOCATION_ID":"`+invocation+`",`, "m"), "", "m"},
		"no invocation":         {line(`"_SYSTEMD_UNIT":"`+loggedUnit+`",`, "m"), "", "m"},
		"no unit":               {line("", "m"), "", "m"},
		"of an earlier run":     {tooOld, "", ""},
		"of another run":        {line(`"_SYSTEMD_INVOCATION_ID":"`+strings.Repeat("1", 32)+`",`, "m"), "", ""},
		"of another unit":       {line(`"_SYSTEMD_UNIT":"`+otherUnit+`",`, "m"), "", ""},
		"syslog, no invocation": {"", line(`"_SYSTEMD_UNIT":"`+loggedUnit+`",`, "m"), "m"},
	} {
		t.Run(name, func(t *testing.T) {
			j := journalctlOf(t, `case "$*" in
*_TRANSPORT=stdout*`+identified+`*) printf '%s\n' '`+test.stdout+`';;
*_TRANSPORT=stdout*|*`+identified+`*) echo '`+line("", "asked for the wrong lines")+`';;
*_TRANSPORT=syslog*) printf '%s\n' '`+test.syslog+`';;
esac`)
			id, _ := interfaces.ParseID(loggedID)
			if got := strings.Join(j.Output(t.Context(), id, invocation, time.Unix(5, 0)), "|"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestLogReadersShareASync: journald reads nothing while it syncs.
func TestLogReadersShareASync(t *testing.T) {
	j := journalctlOf(t, "")
	var readers sync.WaitGroup
	for range 10 {
		readers.Go(func() {
			if _, _, err := j.Entries(t.Context(), service.LogQuery{Agents: []string{"a"}}); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	program, err := exec.LookPath("journalctl")
	if err != nil {
		t.Fatal(err)
	}
	syncs, err := os.ReadFile(filepath.Join(filepath.Dir(program), "syncs"))
	if n := strings.Count(string(syncs), "x"); err != nil || n == 0 || n > 5 {
		t.Errorf("%d syncs for 10 readers at once, %v", n, err)
	}
}

const someLines = `cat <<'E'
{"__CURSOR":"c1","_SYSTEMD_UNIT":"` + loggedUnit + `","_PID":"42","MESSAGE":"one"}
{"__CURSOR":"c2","_SYSTEMD_UNIT":"` + otherUnit + `","_PID":"42","MESSAGE":"two"}
E
`

func TestLogEntries(t *testing.T) {
	j := journalctlOf(t, someLines)
	entries, end, err := j.Entries(t.Context(), ofDHCP)
	if err != nil || len(entries) != 1 || entries[0].Message != "one" || end.Cursor != "c1" {
		t.Errorf("%+v, %+v, %v", entries, end, err)
	}
	entries, end, err = j.Entries(t.Context(), service.LogQuery{Agents: ofDHCP.Agents})
	if err != nil || len(entries) != 0 || end.Cursor != "" || time.Since(time.UnixMicro(end.USec)) > time.Minute {
		t.Errorf("no lines: %+v, %+v, %v", entries, end, err)
	}
	j = journalctlOf(t, someLines+"exit 3\n")
	if entries, _, err = j.Entries(t.Context(), ofDHCP); err == nil || len(entries) != 1 {
		t.Errorf("a journalctl that fails: %+v, %v", entries, err)
	}
}

// TestLogFollow: entries come as they are written; the end of journalctl, of the reader and of
// the context end it.
func TestLogFollow(t *testing.T) {
	j := journalctlOf(t, `case "$*" in *--after-cursor=c0*) ;; *) exit 9;; esac`+"\n"+someLines+"exit 3\n")
	var got []string
	end := service.LogEnd{Cursor: "c0"}
	err := j.Follow(t.Context(), ofDHCP, end, func(e interfaces.LogEntry) error {
		got = append(got, e.Message)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || len(got) != 1 {
		t.Errorf("an end of journalctl: %v after %q", err, got)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	j = journalctlOf(t, "echo $$ > "+pid+"\n"+someLines+"exec sleep 1000\n")
	left := errors.New("left")
	if err = j.Follow(t.Context(), ofDHCP, end, func(interfaces.LogEntry) error { return left }); !errors.Is(err, left) {
		t.Errorf("a reader that leaves: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = j.Follow(ctx, ofDHCP, end, func(interfaces.LogEntry) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that hangs up: %v", err)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat("/proc/" + strings.TrimSpace(string(text))); err == nil {
		t.Error("journalctl is still there")
	}
}

// FuzzLogRecord: no output of journalctl makes an entry that breaks its bounds, or of another
// agent, or keeps the next one from being read.
func FuzzLogRecord(f *testing.F) {
	f.Add(`{"_SYSTEMD_UNIT":"` + loggedUnit + `","_PID":"42","MESSAGE":[255,[1]],"PRIORITY":"3"}`)
	f.Add(`{"_PID":"1","UNIT":["` + loggedUnit + `"],"MESSAGE":"\ud800","__REALTIME_TIMESTAMP":"-1"}`)
	f.Add("{}\n[[[[")
	last := fmt.Sprintf("\n"+`{"_SYSTEMD_UNIT":%q,"_PID":"42","MESSAGE":"the last"}`+"\n", loggedUnit)
	f.Fuzz(func(t *testing.T, text string) {
		var read []interfaces.LogEntry
		rawEntries(strings.NewReader(text+last), func(r rawEntry) bool {
			if e, ok := r.entry(ofDHCP); ok {
				read = append(read, e)
			}
			return true
		})
		for _, e := range read {
			id, err := interfaces.ParseID(e.ID)
			if err != nil || id.Agent != "neutron-dhcp" || e.Priority < 0 || e.Priority > 7 {
				t.Errorf("entry %+v, %v", e, err)
			}
			for _, s := range []string{e.Message, e.Identifier} {
				if !utf8.ValidString(s) || strings.Contains(s, "\x00") || len(s) > interfaces.MaxLogMessage+len("…") {
					t.Errorf("text %q", s)
				}
			}
		}
		if len(read) == 0 || read[len(read)-1].Message != "the last" {
			t.Errorf("the last entry is not read: %+v", read)
		}
	})
}
