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
	for _, text := range []string{"", FormatStatus(4711, ""), "Failed in ", "Failed in : x", "Failed in sleep: x", "Failed: preparation: x"} {
		if phase, reason := ParseFailure(text); phase != "" || reason != "" {
			t.Errorf("%q has the phase %q, the reason %q", text, phase, reason)
		}
	}
}

func TestLaunchStatusText(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789abcdef", 4)
	for _, image := range []string{"", id} {
		if pid, got, ok := ParseStatus(FormatStatus(4711, image)); pid != 4711 || got != image || !ok {
			t.Errorf("%d, %q, %t", pid, got, ok)
		}
	}
	for _, text := range []string{
		"", "Ready", "Ready: process ", "Ready: process 0", "Ready: process -1", "Ready: process 01",
		"Ready: process 1 ", "Ready: process +1", "Ready: process 2147483648", "ready: process 1", " Ready: process 1",
		"Ready: process 1, image ", "Ready: process 1, image " + id[1:], "Ready: process 1, image " + id + "0",
		"Ready: process 1, image " + strings.ToUpper(id), "Ready: process 1, image " + id + ", image " + id,
		"Ready: process 1, image " + id + "\n", "Ready: process 01, image " + id, "Ready: process , image " + id,
	} {
		if pid, image, ok := ParseStatus(text); ok || pid != 0 || image != "" {
			t.Errorf("%q gave %d, %q", text, pid, image)
		}
	}
}
