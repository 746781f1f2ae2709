package launcher

import (
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

func TestLaunchFailureText(t *testing.T) {
	t.Parallel()
	for _, want := range interfaces.LaunchPhases {
		text := FormatFailure(want, errors.New("first\nsecond: "+strings.Repeat("x", 1000)))
		if strings.Contains(text, "\n") || len(text) > 500 {
			t.Errorf("%q", text)
		}
		if phase, reason := ParseFailure(text); phase != want || !strings.HasPrefix(reason, "first; second: xxx") {
			t.Errorf("%q has the phase %q, the reason %q", text, phase, reason)
		}
	}
	for _, text := range []string{"", FormatStatus(4711), "Failed in ", "Failed in : x", "Failed in sleep: x", "Failed: preparation: x"} {
		if phase, reason := ParseFailure(text); phase != "" || reason != "" {
			t.Errorf("%q has the phase %q, the reason %q", text, phase, reason)
		}
	}
}

func TestLaunchStatusText(t *testing.T) {
	t.Parallel()
	if pid, ok := ParseStatus(FormatStatus(4711)); pid != 4711 || !ok {
		t.Errorf("%d, %t", pid, ok)
	}
	for _, text := range []string{
		"", "Ready", "Ready: process ", "Ready: process 0", "Ready: process -1", "Ready: process 01",
		"Ready: process 1 ", "Ready: process +1", "Ready: process 2147483648", "ready: process 1", " Ready: process 1",
	} {
		if pid, ok := ParseStatus(text); ok || pid != 0 {
			t.Errorf("%q gave %d", text, pid)
		}
	}
}
