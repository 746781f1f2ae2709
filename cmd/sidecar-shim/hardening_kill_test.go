package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHardeningShimKillDoesNotSendHUPDirectlyToAStartingSidecar has the service not answer
// any more when it has said that the sidecar is starting.
func TestHardeningShimKillDoesNotSendHUPDirectlyToAStartingSidecar(t *testing.T) {
	t.Parallel()
	var signals atomic.Int64 // calls are answered side by side
	v, f := newVictim(t, func(call string) string {
		if strings.HasPrefix(call, "List") {
			return `{"parameters": {"sidecar": ` + sidecarIs(testID, "starting", "i1") + `}}`
		}
		if signals.Add(1) == 1 {
			return gone
		}
		return "" // it hangs up
	}, "cgroup", testGroup)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := v.kill(ctx, "SIGHUP", v.pid)
	if err == nil || !strings.Contains(err.Error(), "is still starting") || f.asked("Signal") < 2 || !v.lives() {
		t.Errorf("%v, asked %q", err, f.calls)
	}
}

// TestHardeningShimKillStopsASidecarThatIsStarting shows that TERM and KILL do not wait
// for the start, whether the script names the process or its stand-in, and that HUP never
// kills.
func TestHardeningShimKillStopsASidecarThatIsStarting(t *testing.T) {
	t.Parallel()
	listed := func(state string) func(string) string {
		return by(map[string]string{"Signal": gone, "List": `{"parameters": {"sidecar": ` + sidecarIs(testID, state, "i1") + `}}`, "Stop": empty})
	}
	answers := listed("starting")
	standIn := []string{"environ", standInVariable + "=" + testID + " i1\x00"}
	for signal, want := range map[string]string{
		"SIGTERM": fmt.Sprintf(`Stop {"id":%q}`, testID),
		"SIGKILL": fmt.Sprintf(`Stop {"id":%q,"timeoutUSec":1}`, testID),
	} {
		v, f := newVictim(t, answers, "cgroup", testGroup)
		if err := v.kill(t.Context(), signal, v.pid); err != nil || f.asked(want) != 1 || f.asked("Stop") != 1 || !v.lives() {
			t.Errorf("%s: %v, asked %q", signal, err, f.calls)
		}
		v, f = newVictim(t, listed("restarting"), "cgroup", testGroup) // its last process is still there
		if err := v.kill(t.Context(), signal, v.pid); err != nil || f.asked(want) != 1 {
			t.Errorf("%s while it waits for its restart: %v, asked %q", signal, err, f.calls)
		}
		v, f = newVictim(t, answers, standIn...)
		if err := v.kill(t.Context(), signal, v.pid); err != nil || f.asked(want) != 1 {
			t.Errorf("%s to a stand-in: %v, asked %q", signal, err, f.calls)
		}
		v.endedBy(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	v, f := newVictim(t, func(call string) string {
		if strings.HasPrefix(call, "List") {
			cancel() // the time is over
		}
		return answers(call)
	}, standIn...)
	if err := v.kill(ctx, "SIGHUP", v.pid); err == nil || errors.Is(err, errNoProcess) || f.asked("Stop") > 0 || !v.lives() {
		t.Errorf("SIGHUP to a stand-in: %v, asked %q", err, f.calls)
	}
}
