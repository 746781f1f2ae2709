package varlink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tripleo.io/sidecar/internal/quota"
	"tripleo.io/sidecar/service"
)

// Limits bound what peers can take. Zero means the default.
type Limits struct {
	MessageBytes           int           // longest message, without its NUL; default 256 KiB
	ConnectionsPerListener int           // of one agent at a time; default 64
	ConnectionsPerUID      int           // of one user on the host's socket at a time; default 64
	ConnectionsTotal       int           // of all agents at a time; default 4096
	ConnectionsStrangers   int           // of all users but root on the host's socket at a time; default 256
	ReadTimeout            time.Duration // from a message's first byte to its last; default 10 s
	IdleTimeout            time.Duration // between two messages, or before the first; default 10 min
	IdleTimeoutFull        time.Duration // the same while other callers of the agent wait for a place; default 5 s
	WriteTimeout           time.Duration // for one reply, or several sent together, to be taken by the peer; default 30 s
}

// withDefaults fills in what is zero, and refuses what is negative.
func (l Limits) withDefaults() (Limits, error) {
	l.MessageBytes = cmp.Or(l.MessageBytes, 256<<10)
	l.ConnectionsPerListener = cmp.Or(l.ConnectionsPerListener, 64)
	l.ConnectionsPerUID = cmp.Or(l.ConnectionsPerUID, 64)
	l.ConnectionsTotal = cmp.Or(l.ConnectionsTotal, 4096)
	l.ConnectionsStrangers = cmp.Or(l.ConnectionsStrangers, 256)
	l.ReadTimeout = cmp.Or(l.ReadTimeout, 10*time.Second)
	l.IdleTimeout = cmp.Or(l.IdleTimeout, 10*time.Minute)
	l.IdleTimeoutFull = cmp.Or(l.IdleTimeoutFull, 5*time.Second)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, 30*time.Second)
	if min(l.MessageBytes, l.ConnectionsPerListener, l.ConnectionsPerUID, l.ConnectionsTotal, l.ConnectionsStrangers) < 0 ||
		min(l.ReadTimeout, l.IdleTimeout, l.IdleTimeoutFull, l.WriteTimeout) < 0 {
		return l, errors.New("a limit is negative")
	}
	return l, nil
}

// connections counts the connections of agents, and on the host's socket of root and of
// the other users: none of the three can take the places of another. The keys are from
// Caller.LimitKey.
type connections struct{ agents, root, strangers *quota.Quota[string] }

func newConnections(l Limits) connections {
	return connections{
		agents:    quota.New[string](l.ConnectionsPerListener, l.ConnectionsTotal),
		root:      quota.New[string](l.ConnectionsPerUID, quota.NoLimit),
		strangers: quota.New[string](l.ConnectionsPerUID, l.ConnectionsStrangers),
	}
}

func (c connections) of(p service.Caller) *quota.Quota[string] {
	switch {
	case p.Agent != "":
		return c.agents
	case p.UID == 0:
		return c.root
	}
	return c.strangers
}

// enter counts one more connection of the peer, or says which limit does not allow it.
func (c connections) enter(p service.Caller) error {
	its, key := c.of(p), p.LimitKey()
	outcome := its.Take(key, 1)
	switch {
	case outcome == quota.KeyFull:
		return fmt.Errorf("%s has %d connections", key, its.Held(key))
	case outcome == quota.Full && p.Agent != "":
		return fmt.Errorf("the agents have %d connections in all", its.InUse())
	case outcome == quota.Full:
		return fmt.Errorf("users other than root have %d connections in all", its.InUse())
	}
	return nil
}

func (c connections) leave(p service.Caller) { c.of(p).Release(p.LimitKey(), 1) }

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

func (t *throttle) warn(p service.Caller, message string, err error) {
	if skipped, ok := t.pass(throttleKey{p.Agent, message}, time.Now()); ok {
		t.log.LogAttrs(context.Background(), slog.LevelWarn, message,
			callerAttr(p), slog.Any("error", err), slog.Int("skipped", skipped))
	}
}

// pass reports whether a line may be written now, and how many were left out before it.
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
