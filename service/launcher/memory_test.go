package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// TestLifecycleLimitsWhoseMemory: the kernel counts "oom" where the limit is and above, "oom_kill"
// where it killed and above.
func TestLifecycleLimitsWhoseMemory(t *testing.T) {
	t.Parallel()
	const none, killed, reached = "low 0\noom 0\noom_kill 0\n", "oom 0\noom_kill 1\n", "max 9\noom 1\noom_kill 1\noom_group_kill 0\n"
	for name, c := range map[string]struct {
		unit, slice, most string // memory.events, the slice's memory.events.local and memory.max
		want              interfaces.MemoryLimit
		wrong             string
	}{
		"profile":                    {reached, none, "max", interfaces.MemoryLimitProfile, ""},
		"profile, agent before":      {reached, reached, "1073741824", interfaces.MemoryLimitProfile, ""},
		"agent":                      {killed, reached, "1073741824", interfaces.MemoryLimitAgent, ""},
		"host":                       {killed, none, "1073741824", interfaces.MemoryLimitHost, ""},
		"host, agent without":        {killed, none, "max", interfaces.MemoryLimitHost, ""},
		"host, agent had one before": {killed, reached, "max", interfaces.MemoryLimitHost, ""},
		"no controller":              {"", none, "max", "", "memory.events"},
		"another kernel":             {"max 1\n", none, "max", "", "no line with oom"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slice := t.TempDir()
			unit := filepath.Join(slice, "x.service")
			must(t, os.Mkdir(unit, 0o755))
			for file, text := range map[string]string{
				unit + "/memory.events": c.unit, slice + "/memory.events.local": c.slice, slice + "/memory.max": c.most + "\n",
			} {
				if text != "" {
					must(t, os.WriteFile(file, []byte(text), 0o644))
				}
			}
			got, err := memoryLimit(unit)
			if c.wrong == "" && (err != nil || got != c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			if c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("%q, %v; want an error with %q", got, err, c.wrong)
			}
		})
	}
}

// TestLifecycleLimitsStatus: the core reads what the clean-up has said.
func TestLifecycleLimitsStatus(t *testing.T) {
	t.Parallel()
	for _, limit := range interfaces.MemoryLimits {
		if got := ParseOutOfMemory(memoryPrefix + string(limit)); got != limit {
			t.Errorf("%q, want %q", got, limit)
		}
	}
	for _, text := range []string{"", "profile", memoryPrefix, memoryPrefix + "profile ", "Ready: process 1"} {
		if got := ParseOutOfMemory(text); got != "" {
			t.Errorf("%q: %q", text, got)
		}
	}
}
