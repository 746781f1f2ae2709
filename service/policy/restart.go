package policy

import (
	"strconv"
	"strings"
	"time"
)

// Values of a profile's restart key.
const (
	RestartNo        = "no"
	RestartOnFailure = "on-failure"
	RestartAlways    = "always"
)

const (
	defaultRestartDelay = time.Second
	maxRestartDelay     = time.Hour
	defaultRestartLimit = "5/10m"
	maxRestarts         = 1000
	maxRestartInterval  = 24 * time.Hour
	unlimited           = "none"
)

// Restart says which ends of a sidecar systemd repairs, and how often.
type Restart struct {
	When     string        // RestartNo, RestartOnFailure or RestartAlways
	Delay    time.Duration // before each restart
	Limit    int           // restarts within Interval, after which it has failed
	Interval time.Duration // 0: no limit
}

// restart reads the three keys about restarts.
func (r *report) restart(when, delay, limit *string) Restart {
	restart := Restart{
		When:  r.choice("restart", when, RestartNo, RestartOnFailure, RestartAlways),
		Delay: defaultRestartDelay,
	}
	if delay != nil {
		restart.Delay = r.restartDelay(*delay)
	}
	text := defaultRestartLimit
	if limit != nil {
		text = *limit
	}
	restart.Limit, restart.Interval = r.restartLimit(text)
	if text == unlimited && restart.Delay < defaultRestartDelay {
		r.errorf("restart-limit", `%q needs a restart-delay of at least %v: nothing else bounds the starts`, unlimited, defaultRestartDelay)
	}
	switch restart.When {
	case RestartAlways:
		r.warnf("restart", `with "always", a program that handles SIGTERM and exits with 0 is started again when something outside `+
			`the service ends it (kill, neutron-netns-cleanup); "on-failure" leaves it stopped`)
	case RestartNo:
		const needs = `needs restart = "on-failure" or "always"`
		if delay != nil {
			r.errorf("restart-delay", needs)
		}
		if limit != nil {
			r.errorf("restart-limit", needs)
		}
	}
	return restart
}

func (r *report) restartDelay(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxRestartDelay {
		r.errorf("restart-delay", `%q is not a time between 0s and 1h, such as "5s"`, s)
	}
	return d
}

// restartLimit reads "5/10m": 5 restarts in 10 minutes.
func (r *report) restartLimit(s string) (limit int, interval time.Duration) {
	if s == unlimited {
		return 0, 0
	}
	number, within, _ := strings.Cut(s, "/")
	limit, err := strconv.Atoi(number)
	interval, intervalErr := time.ParseDuration(within)
	if err != nil || intervalErr != nil || limit < 1 || limit > maxRestarts || interval < time.Second || interval > maxRestartInterval {
		r.errorf("restart-limit", `%q is neither a number of restarts (1 to %d) and an interval (1s to 24h), such as "5/10m", nor %q`,
			s, maxRestarts, unlimited)
	}
	return limit, interval
}
