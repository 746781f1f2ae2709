package journal

import (
	"sync"
	"time"
)

const (
	// throttleBurst entries about one caller are shown in throttleInterval.
	throttleBurst    = 100
	throttleInterval = 10 * time.Second
)

// throttle counts by where callers come from: there are as many origins as agents
// and as users whom polkit lets in, and a few more.
type throttle struct {
	now     func() time.Time
	mu      sync.Mutex
	origins map[string]*window
}

type window struct {
	began      time.Time
	shown      int
	suppressed int
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, origins: map[string]*window{}}
}

// pass reports whether an entry about a call may be shown, and how many were not
// shown in the interval that has just ended.
func (t *throttle) pass(origin string) (pass bool, suppressed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.origins[origin]
	if w == nil || t.now().Sub(w.began) >= throttleInterval {
		if w != nil {
			suppressed = w.suppressed
		}
		w = &window{began: t.now()}
		t.origins[origin] = w
	}
	if w.shown >= throttleBurst {
		w.suppressed++
		return false, suppressed
	}
	w.shown++
	return true, suppressed
}
