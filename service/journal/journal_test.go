package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

type written struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

// newRecorder returns a journal that writes into entries, at a time that stands
// still until the test moves it.
func newRecorder() (r *recorder, now *time.Time) {
	r, now = &recorder{}, new(time.Time)
	r.Journal = newJournal(func(message string, priority journal.Priority, fields map[string]string) error {
		r.all = append(r.all, written{message, priority, fields})
		return nil
	}, slog.New(slog.DiscardHandler), func() time.Time { return *now })
	return r, now
}

type recorder struct {
	*Journal
	all []written
}

// entries returns what is written.
func (r *recorder) entries() []written {
	r.Flush(time.Minute)
	return r.all
}

// TestRuntimeInTheJournal: an entry has the OCI runtime if the profile had a say, and its text
// has a fallback.
func TestRuntimeInTheJournal(t *testing.T) {
	t.Parallel()
	const crun = "/usr/bin/crun"
	const instead = "; OCI runtime default, as the host has none of krun, runsc"
	for name, test := range map[string]struct {
		decision service.Decision
		field    string
		end      string
	}{
		"refused":            {service.Decision{}, "", ""},
		"the engine's own":   {service.Decision{Runtime: &service.RuntimeChoice{}}, "", ""},
		"chosen":             {service.Decision{Runtime: &service.RuntimeChoice{Path: crun}}, crun, ""},
		"fallback":           {service.Decision{Runtime: &service.RuntimeChoice{Missing: []string{"krun", "runsc"}}}, "default", instead},
		"fallback to crun":   {service.Decision{Runtime: &service.RuntimeChoice{Path: crun, Missing: []string{"krun"}}}, crun, "; OCI runtime " + crun + ", as the host has none of krun"},
		"kept":               {service.Decision{Kept: true, Runtime: &service.RuntimeChoice{Path: crun}}, "", ""},
		"outcome":            {service.Decision{Outcome: true, Runtime: &service.RuntimeChoice{Missing: []string{"krun"}}}, "default", ""},
		"fallback and error": {service.Decision{Err: errors.New("e"), Runtime: &service.RuntimeChoice{Missing: []string{"krun", "runsc"}}}, "default", instead + ": e"},
	} {
		j, _ := newRecorder()
		test.decision.Method = "Launch"
		j.Record(test.decision)
		entry := j.entries()[0]
		_, end, _ := strings.Cut(entry.Message, "uid 0")
		if entry.Fields["RUNTIME"] != test.field || end != test.end {
			t.Errorf("%s: RUNTIME=%s, text %q", name, entry.Fields["RUNTIME"], entry.Message)
		}
	}
}

func TestPolicyDecisionsInTheJournal(t *testing.T) {
	t.Parallel()
	caller := service.Caller{Agent: "neutron-dhcp", PID: 4711, UID: 42435}
	launch := service.Decision{
		Caller: caller, Method: "Launch", Agent: "neutron-dhcp", Profile: "dnsmasq",
		SidecarID: "neutron-dhcp.dnsmasq.0123456789ab",
	}
	refused, failed := launch, launch
	refused.SidecarID = ""
	refused.Err = &interfaces.ArgumentNotAllowedError{Index: 3, Argument: "--x\x1b[31m", Reason: "no rule\naccepts it"}
	code := int64(2)
	failed.Outcome = true
	failed.Err = &interfaces.LaunchFailedError{ExitCode: &code, Output: []string{"address in use"}}

	j, _ := newRecorder()
	for _, d := range []service.Decision{launch, refused, failed} {
		j.Record(d)
	}
	fields := func(more ...string) map[string]string {
		f := map[string]string{
			"MESSAGE_ID": MessageID, "METHOD": "Launch", "AGENT": "neutron-dhcp", "PROFILE": "dnsmasq",
			"SIDECAR_ID": launch.SidecarID, "PEER_PID": "4711", "PEER_UID": "42435",
		}
		for i := 0; i < len(more); i += 2 {
			f[more[i]] = more[i+1]
		}
		return f
	}
	const notAllowed = `argument 3 ("--x\x1b[31m") not allowed: no rule accepts it`
	const exited = "launch failed: exit code 2 address in use"
	const who = "for neutron-dhcp, pid 4711, uid 42435"
	want := []written{
		{"Launch allowed: " + launch.SidecarID + " " + who, journal.PriInfo, fields("DECISION", "allowed")},
		{"Launch refused: dnsmasq " + who + ": " + notAllowed, journal.PriWarning, fields("DECISION", "refused", "REASON", notAllowed, "SIDECAR_ID", "")},
		{"Launch failed: " + launch.SidecarID + " " + who + ": " + exited, journal.PriWarning, fields("OUTCOME", "failed", "REASON", exited, "MESSAGE_ID", OutcomeID)},
	}
	if diff := cmp.Diff(want, j.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestPolicyRefusalsDoNotFloodTheJournal(t *testing.T) {
	t.Parallel()
	j, now := newRecorder()
	refuse := func(agent string) {
		j.Record(service.Decision{Caller: service.Caller{Agent: agent}, Method: "Launch", Agent: "victim", Err: interfaces.ErrPermissionDenied})
	}
	for range throttleBurst + 50 {
		refuse("noisy")
	}
	j.Record(service.Decision{Caller: service.Caller{Agent: "noisy"}, Method: "Launch", Agent: "noisy", Kept: true})
	refuse("calm")
	if len(j.entries()) != throttleBurst+1 {
		t.Errorf("%d entries, want %d of the noisy agent and 1 of the calm one", len(j.entries()), throttleBurst)
	}
	j.Record(service.Decision{Caller: service.Caller{Agent: "noisy"}, Method: "Launch", Agent: "noisy"})
	if got := j.entries()[len(j.entries())-1].Fields["DECISION"]; got != "allowed" {
		t.Errorf("an allowed decision of the noisy agent is not shown: %q", got)
	}
	*now = now.Add(throttleInterval)
	before := len(j.entries())
	refuse("noisy")
	after := j.entries()[before:]
	if len(after) != 2 || !strings.HasPrefix(after[0].Message, "51 more entries about calls of noisy") {
		t.Errorf("after the interval: %+v, want the number of those not shown, and the new one", after)
	}
}

func TestLaunchOutputIsFitToBeShown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\x1b[2Jclear\r":               "[2Jclear",
		"bad \xff byte":                "bad \uFFFD byte",
		"\u202eevil\nline":             "evil line",
		strings.Repeat("x", 2*maxLine): strings.Repeat("x", maxLine) + "…",
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestLaunchOutputIsOfTheInvocation: a line that journald reads after the end of its unit has no
// invocation. Such a line of an earlier run is older than the start of this one.
func TestLaunchOutputIsOfTheInvocation(t *testing.T) {
	t.Parallel()
	started := time.UnixMicro(1_000_000)
	r := run{id: interfaces.NewID("a", "p", ""), invocation: strings.Repeat("a", 32), started: started}
	for _, test := range []struct {
		unit, invocation, time string
		want                   bool
	}{
		{r.id.Unit(), r.invocation, "1000001", true},
		{r.id.Unit(), r.invocation, "5", true}, // the clock was set
		{r.id.Unit(), "", "1000000", true},
		{"", "", "1000000", true},
		{"", "", "999999", false},
		{r.id.Unit(), "", "999999", false},
		{"other.service", "", "1000001", false}, // of a program that took the identifier
		{"other.service", strings.Repeat("b", 32), "1000001", false},
		{r.id.Unit(), strings.Repeat("b", 32), "1000001", false},
	} {
		if got := r.has(rawEntry{Unit: text(test.unit), Invocation: text(test.invocation), Time: test.time}); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestPolkitIsInTheJournal(t *testing.T) {
	t.Parallel()
	j, _ := newRecorder()
	d := service.Decision{
		Caller: service.Caller{PID: 4711, UID: 1000, Sender: ":1.42"}, Method: "Stop", Agent: "neutron-dhcp",
		Authorisation: service.Authorisation{By: service.ByPolkit, Action: "io.tripleo.sidecar.stop", Verdict: "denied"},
		Err:           interfaces.ErrPermissionDenied,
	}
	j.Record(d)
	want := map[string]string{
		"AUTHORISED_BY": "polkit", "POLKIT_ACTION": "io.tripleo.sidecar.stop", "POLKIT_VERDICT": "denied",
		"PEER_BUS_NAME": ":1.42", "PEER_UID": "1000", "DECISION": "refused",
	}
	for name, value := range want {
		if got := j.entries()[0].Fields[name]; got != value {
			t.Errorf("%s=%s, want %s", name, got, value)
		}
	}
}

// TestPolkitHostileFloodHidesNoSignal has an operator look much, and others be
// refused much, to hide that he sends a signal.
func TestPolkitHostileFloodHidesNoSignal(t *testing.T) {
	t.Parallel()
	j, _ := newRecorder()
	allowed := service.Authorisation{By: service.ByPolkit}
	for range throttleBurst + 50 {
		j.Record(service.Decision{Caller: service.Caller{UID: 1001}, Method: "Signal", Err: interfaces.ErrPermissionDenied})
		j.Record(service.Decision{Caller: service.Caller{UID: 1000}, Method: "List", Authorisation: allowed})
	}
	j.Record(service.Decision{Caller: service.Caller{UID: 1000}, Method: "Signal", Authorisation: allowed})
	if last := j.entries()[len(j.entries())-1]; len(j.entries()) != 2*throttleBurst+1 || last.Fields["METHOD"] != "Signal" || last.Fields["DECISION"] != "allowed" {
		t.Errorf("%d entries, the last: %+v", len(j.entries()), last)
	}
}

func TestPolicyRefusalsOfUsersDoNotHideThoseOfRoot(t *testing.T) {
	t.Parallel()
	j, _ := newRecorder()
	refused := service.Decision{Caller: service.Caller{UID: 1000}, Method: "List", Err: interfaces.ErrPermissionDenied}
	for range throttleBurst + 50 {
		j.Record(refused)
	}
	refused.Caller.UID = 0
	j.Record(refused)
	if len(j.entries()) != throttleBurst+1 {
		t.Errorf("%d entries, want %d of users and 1 of root", len(j.entries()), throttleBurst)
	}
}

// TestHardeningJournalThatDoesNotRead shows that callers do not wait for a journal that does
// not read, that launches and stops are lost last, and that the journal afterwards has the
// number of lost entries, and the times of the others.
func TestHardeningJournalThatDoesNotRead(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	r := &recorder{}
	r.Journal = newJournal(func(message string, priority journal.Priority, fields map[string]string) error {
		<-release
		r.all = append(r.all, written{message, priority, fields})
		return nil
	}, slog.New(slog.DiscardHandler), time.Now)
	for i := range 2 * maxEntries { // each agent's first is not throttled
		agent := fmt.Sprintf("agent-%d", i)
		r.Record(service.Decision{Caller: service.Caller{Agent: agent}, Method: "Signal", Agent: agent, Err: interfaces.ErrPermissionDenied})
	}
	r.Record(service.Decision{Caller: service.Caller{Agent: "a"}, Method: "Launch", Agent: "a"})
	r.Flush(lateAfter)
	close(release)
	all := r.entries()
	lost := 0
	for _, e := range all {
		if e.Fields["MESSAGE_ID"] == LostID {
			fmt.Sscan(e.Fields["LOST"], &lost)
		}
	}
	if last := all[len(all)-1]; last.Fields["METHOD"] != "Launch" || last.Fields["MADE_USEC"] == "" {
		t.Errorf("the last entry is %+v, want the launch, and when it was made", last)
	}
	if decisions := len(all) - 1; lost == 0 || decisions+lost != 2*maxEntries+1 {
		t.Errorf("%d entries and %d lost, want %d together", decisions, lost, 2*maxEntries+1)
	}
}

func TestDenialsInTheLogOfAuditd(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	text := strings.Repeat("x", 300) + " msg=audit(1200.1:1): avc:  denied  { read } cut off\n" +
		"type=AVC msg=audit(999.9:1): avc:  denied  { read } before\n" +
		"type=AVC msg=audit(1000.1:2): avc:  denied  { read } since\x1dSAUID=\"root\"\n" +
		"type=SYSCALL msg=audit(1000.1:2): arch=c000003e\n" +
		"type=AVC msg=audit(99999999999999:3): avc:  denied  { read } no time\n" +
		"type=AVC msg=audit(1001.0:4): avc:  denied  { re\x1bad } after"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	end, err := tail(file, int64(len(text)-200))
	if err != nil || string(end) != text[200:] {
		t.Fatalf("%q, %v", end, err)
	}
	want := []string{
		"type=AVC msg=audit(1000.1:2): avc:  denied  { read } since",
		"type=AVC msg=audit(1001.0:4): avc:  denied  { read } after",
	}
	if diff := cmp.Diff(want, auditLines(string(end), time.Unix(1000, 0))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := tail(file+".1", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
