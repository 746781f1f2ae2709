//go:build testhost

package test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// decisionID marks the service's decisions in the journal.
const decisionID = "MESSAGE_ID=6f2fc8d1c3f14fd0a34f3c7b6a1e9d52"

// ours takes the fields of an entry that the service gives a decision, and those
// by which journald vouches for who wrote it.
func ours(e entry) map[string]string {
	fields := map[string]string{}
	for _, name := range []string{"METHOD", "AGENT", "PROFILE", "SIDECAR_ID", "PEER_PID", "PEER_UID", "DECISION", "PRIORITY", "_SYSTEMD_UNIT"} {
		fields[name], _ = e[name].(string)
	}
	return fields
}

func TestPolicyDecisionsAreInTheJournal(t *testing.T) {
	begin(t)
	namespace(t, "t-journal")
	since := now()
	p := probe(t, "t-journal", "--text=fine")
	s := start(t, limited, p)
	bad := p
	bad.Arguments = append(p.Arguments[:1:1], "--evil")
	refused(t, limited, bad, interfaces.ErrArgumentNotAllowed)

	var entries []entry
	eventually(t, 10*time.Second, "both decisions are in the journal", func() bool {
		entries = entriesSince(t, since, decisionID, "AGENT="+limited)
		return len(entries) >= 2
	})
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2: %v", len(entries), entries)
	}
	want := map[string]string{
		"METHOD": "Launch", "AGENT": limited, "PROFILE": "probe", "SIDECAR_ID": s.ID, "PEER_PID": strconv.Itoa(os.Getpid()),
		"PEER_UID": "0", "DECISION": "allowed", "PRIORITY": "6", "_SYSTEMD_UNIT": "sidecard.service",
	}
	if diff := cmp.Diff(want, ours(entries[0])); diff != "" {
		t.Errorf("the allowed one (-want +got):\n%s", diff)
	}
	want["DECISION"], want["PRIORITY"], want["SIDECAR_ID"] = "refused", "4", ""
	if diff := cmp.Diff(want, ours(entries[1])); diff != "" {
		t.Errorf("the refused one (-want +got):\n%s", diff)
	}
	if reason, _ := entries[1]["REASON"].(string); !strings.Contains(reason, `argument 1 ("--evil")`) {
		t.Errorf("the reason is %q", reason)
	}
}

// TestPolicyJournalIsNotFloodedByAPayload shows that journald drops what a payload
// writes without end. Its own limit, 10000 and more by the free disk space, would
// have let all of it through. What is kept can be found by whose it is.
func TestPolicyJournalIsNotFloodedByAPayload(t *testing.T) {
	begin(t)
	namespace(t, "t-chatty")
	since := now()
	s := start(t, tester, shaped(t, "chatty", "t-chatty"))
	whose := []string{"SIDECAR_ID=" + s.ID, "AGENT=" + tester, "PROFILE=chatty", "SYSLOG_IDENTIFIER=" + s.ID, "_TRANSPORT=stdout"}
	var kept int
	eventually(t, 10*time.Second, "journald has read it", func() bool {
		kept = len(entriesSince(t, since, whose...))
		return kept >= 1000
	})
	time.Sleep(500 * time.Millisecond) // for what is under way
	kept = len(entriesSince(t, since, whose...))
	if kept < 1000 || kept > 10000 {
		t.Errorf("%d of 20000 lines were kept", kept)
	}
}
