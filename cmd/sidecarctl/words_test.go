package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestTimesAreShownAsSystemctlDoes(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                               "just now",
		243 * time.Millisecond:          "just now",
		-999 * time.Millisecond:         "just now",
		time.Second:                     "1s ago",
		59 * time.Second:                "59s ago",
		4*time.Minute + 5*time.Second:   "4min 5s ago",
		59*time.Minute + 59*time.Second: "59min ago",
		time.Hour:                       "1h 0min ago",
		5*time.Hour + 59*time.Minute:    "5h 59min ago",
		6*time.Hour + 59*time.Minute:    "6h ago",
		day + 30*time.Minute:            "24h ago",
		day + 5*time.Hour:               "1 day 5h ago",
		3 * day:                         "3 days ago",
		8 * day:                         "1 week 1 day ago",
		14 * day:                        "2 weeks ago",
		40 * day:                        "1 month 9 days ago",
		2*365*day + 40*day:              "2 years 1 month ago",
		-time.Minute:                    "1min 0s from now",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestTimesAreInTheLocalZone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	got := moment(new(now.Add(-90*time.Second).UnixMicro()), now)
	if want := "Sun 2026-03-01 11:58:30 CET; 1min 30s ago"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestStatesAreWords(t *testing.T) {
	t.Parallel()
	tests := map[string]interfaces.Runtime{
		"starting":                  {State: interfaces.StateStarting},
		"ready":                     {State: interfaces.StateReady, ExitCode: new(int64(1))}, // of the run before
		"ready, image outdated":     {State: interfaces.StateReady, ImageOutdated: true},
		"ready, frozen":             {State: interfaces.StateReady, Frozen: true},
		"ready, unhealthy":          {State: interfaces.StateReady, Health: new(interfaces.HealthUnhealthy)},
		"failed":                    {State: interfaces.StateFailed},
		"failed, exit code 7":       {State: interfaces.StateFailed, ExitCode: new(int64(7))},
		"failed, killed by SIGTERM": {State: interfaces.StateFailed, ExitCode: new(int64(143)), ExitSignal: new("SIGTERM")},
	}
	for want, runtime := range tests {
		if got := stateWords(&runtime); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSinceIsTheLastChange(t *testing.T) {
	t.Parallel()
	r := interfaces.Runtime{StartedUSec: new(int64(1)), ReadyUSec: new(int64(2)), ExitedUSec: new(int64(3))}
	want := map[interfaces.SidecarState]*int64{
		interfaces.StateStarting: r.StartedUSec,
		interfaces.StateReady:    r.ReadyUSec,
		interfaces.StateFailed:   r.ExitedUSec,
		interfaces.StateStopping: nil,

		interfaces.StateRestarting: r.ExitedUSec,
	}
	for _, r.State = range interfaces.SidecarStates {
		if got := since(&r); got != want[r.State] {
			t.Errorf("%s: %v", r.State, got)
		}
	}
}

// hostileWords are arguments that a terminal or a shell could take for more.
var hostileWords = []string{
	"", "plain", "--a=b/c:d", "two words", "it's", "$HOME", "`id`", "a\"b", `back\slash`, "~", "*", "a;b", "{a,b}", "#c", "!x",
	"new\nline", "tab\t'quoted\\'", "\x1b[31m", "\x1babc", "\x7f", "\u009b31m", "\u202eabc", "é ü", "\U000e0041z", "\ufeff",
}

func TestShellTakesTheSameWords(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash to ask")
	}
	line := shellWords(hostileWords)
	cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", `printf '%s\0' `+line)
	cmd.Env = []string{"LC_ALL=C.UTF-8"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if diff := cmp.Diff(hostileWords, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, word := range hostileWords {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, shown := range []string{printable(s), shellWord(s)} {
			if i := strings.IndexFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q is shown as %q", s, shown)
			}
		}
	})
}
