package launch

import (
	"errors"
	"strings"
	"testing"
)

func TestLaunchFailureText(t *testing.T) {
	t.Parallel()
	text := FormatFailure(errors.New("first\nsecond" + strings.Repeat("x", 1000)))
	if !HasFailed(text) || strings.Contains(text, "\n") || len(text) > 500 {
		t.Errorf("%q", text)
	}
	if HasFailed(FormatStatus(4711)) {
		t.Error("what is ready has failed")
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
