package systemd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The signatures are those that systemd 252 and 257 accept; see
// TestSystemdAcceptsProperties for the proof.
func TestPropertiesHaveTheirTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		property        Property
		name, kind, say string
	}{
		{String("Type", "notify"), "Type", "s", "notify"},
		{Strings("Environment", "A=b", "C=d e"), "Environment", "as", `A=b "C=d e"`},
		{Strings("After"), "After", "as", ""},
		{Bool("Delegate", true), "Delegate", "b", "yes"},
		{Bool("Delegate", false), "Delegate", "b", "no"},
		{Int32("OOMScoreAdjust", -5), "OOMScoreAdjust", "i", "-5"},
		{Uint32("LogRateLimitBurst", 7), "LogRateLimitBurst", "u", "7"},
		{Uint64("MemoryMax", 64<<20), "MemoryMax", "t", "67108864"},
		{Duration("TimeoutStartUSec", 90*time.Second), "TimeoutStartUSec", "t", "1min 30s"},
		{Duration("TimeoutStartUSec", -1), "TimeoutStartUSec", "t", "infinity"},
		{ExecStart("/bin/a", "b c", ""), "ExecStart", "a(sasb)", `/bin/a "b c" ""`},
		{ExecStopPost([]string{"/bin/a", "$b"}, []string{"/bin/c"}), "ExecStopPost", "a(sasb)", "-/bin/a $$b ; -/bin/c"},
		{SuccessExitStatus([]int32{143, 137}, []int32{9}), "SuccessExitStatus", "(aiai)", "143 137 SIGKILL"},
		{LogExtraFields("A=b", "C=d e"), "LogExtraFields", "aay", `A=b "C=d e"`},
	}
	for _, test := range tests {
		got := []string{test.property.Name, test.property.Value.Signature().String(), Format(test.property)}
		if d := cmp.Diff([]string{test.name, test.kind, test.say}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}
