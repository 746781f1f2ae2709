package varlink

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// throttle logs what peers can cause at will: one line for each agent and
// message within a time, with the number of lines left out before it.
type throttle struct {
	log   *slog.Logger
	every time.Duration

	mu    sync.Mutex
	lines map[throttleKey]throttleLine
}

type throttleKey struct{ agent, message string }

type throttleLine struct {
	next    time.Time
	skipped int
}

func newThrottle(log *slog.Logger, every time.Duration) *throttle {
	return &throttle{log: log, every: every, lines: map[throttleKey]throttleLine{}}
}

func (t *throttle) warn(p Peer, message string, err error) {
	skipped, ok := t.pass(throttleKey{p.Agent, message}, time.Now())
	if !ok {
		return
	}
	t.log.LogAttrs(context.Background(), slog.LevelWarn, message,
		p.log(), slog.Any("error", err), slog.Int("skipped", skipped))
}

// pass reports whether a line may be written now, and how many were not.
func (t *throttle) pass(key throttleKey, now time.Time) (skipped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[key]
	if now.Before(line.next) {
		line.skipped++
		t.lines[key] = line
		return 0, false
	}
	t.lines[key] = throttleLine{next: now.Add(t.every)}
	return line.skipped, true
}
