package journal

import (
	"sync"
	"time"
)

const (
	// throttleBurst refusals of one agent are shown in throttleInterval.
	// journald's own default is 10,000 in 30 s for the whole service
	// (journald.conf(5), RateLimitBurst=).
	throttleBurst    = 200
	throttleInterval = 10 * time.Second
)

// throttle counts per agent. There are as many agents as files on the host.
type throttle struct {
	now    func() time.Time
	mu     sync.Mutex
	agents map[string]*window
}

type window struct {
	began      time.Time
	shown      int
	suppressed int
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, agents: map[string]*window{}}
}

// pass reports whether an entry of the agent may be shown, and how many were not
// shown in the interval that has just ended.
func (t *throttle) pass(agent string) (pass bool, suppressed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.agents[agent]
	if w == nil || t.now().Sub(w.began) >= throttleInterval {
		if w != nil {
			suppressed = w.suppressed
		}
		w = &window{began: t.now()}
		t.agents[agent] = w
	}
	if w.shown >= throttleBurst {
		w.suppressed++
		return false, suppressed
	}
	w.shown++
	return true, suppressed
}
