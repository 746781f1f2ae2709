package service

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/quota"
)

// The bounds of reads of the journal at once, each of which is a journalctl(1): for one
// caller, and for all agents or all other callers together. Agents and operators have places
// of their own, so that agents cannot keep an operator from reading; together they have half
// of the journalctls that the journal runs at once. Callers wait for their turn to read, and
// are refused another follower.
const (
	readersEach    = 2
	readersTotal   = 4
	followersEach  = 4
	followersTotal = 16
	// takeTimeout bounds how long a caller may take for the entries that exist.
	takeTimeout = 30 * time.Second
)

// logQuotas count the reads of the journal of agents, or of other callers.
type logQuotas struct{ readers, followers *quota.Quota[string] }

func newLogQuotas() logQuotas {
	return logQuotas{quota.New[string](readersEach, readersTotal), quota.New[string](followersEach, followersTotal)}
}

// LogQuery says which entries of the journal are wanted.
type LogQuery struct {
	ID        *interfaces.ID // of one sidecar; nil: of all sidecars of Agents and Profile
	Agents    []string
	Profile   string // "": of all profiles
	Lines     int
	SinceUSec *int64
}

// Selects reports whether entries about the sidecar are wanted.
func (q LogQuery) Selects(id interfaces.ID) bool {
	if q.ID != nil {
		return id == *q.ID
	}
	return slices.Contains(q.Agents, id.Agent) && (q.Profile == "" || q.Profile == id.Profile)
}

// LogEnd is how far a read of the journal came, for Follow.
type LogEnd struct {
	Cursor string // of the newest entry that was read (systemd.journal-fields(7)); "" if none was
	USec   int64  // when the read began
}

// ReadLog sends the newest entries of the sidecars that the selectors match and the caller may
// see, the oldest of them first, then nil, and then, if p says so, new entries until ctx ends
// or send fails. It is recorded as List is.
func (c *Core) ReadLog(ctx context.Context, caller Caller, p interfaces.ReadLogParameters, send func(*interfaces.LogEntry) error) error {
	query, err := LogQuery{}, error(nil)
	err = untilNotMoved(func() error {
		call := newCall(caller, "ReadLog", actionInspect, p.Agent, orEmpty(p.Profile), p.AllowInteractiveAuthentication)
		query, err = c.logQuery(ctx, call, p)
		c.recordInspection(call, err)
		return err
	})
	if err != nil {
		return err
	}
	quotas := &c.operatorLogs
	if caller.Agent != "" {
		quotas = &c.agentLogs
	}
	follow := p.Follow != nil && *p.Follow
	if follow {
		if quotas.followers.Take(caller.LimitKey(), 1) != quota.Taken {
			return &interfaces.OverloadedError{Reason: fmt.Sprintf("%s has %d followers of the log of at most %d; all agents, or all other callers, together may have %d",
				caller.LimitKey(), quotas.followers.Held(caller.LimitKey()), followersEach, followersTotal)}
		}
		defer quotas.followers.Release(caller.LimitKey(), 1)
	}
	end, err := c.readLog(ctx, quotas.readers, caller.LimitKey(), query, send)
	if err != nil || !follow {
		return err
	}
	return hostFailure(ctx, "follow the journal", c.Journal.Follow(ctx, query, end, func(e interfaces.LogEntry) error { return send(&e) }))
}

// readLog sends the entries that exist, and then nil. The entries that could be read come
// before an error, too. The place is held until all is sent, which bounds the memory.
func (c *Core) readLog(ctx context.Context, readers *quota.Quota[string], key string, q LogQuery, send func(*interfaces.LogEntry) error) (LogEnd, error) {
	if err := readers.Acquire(ctx, key); err != nil {
		return LogEnd{}, err
	}
	defer readers.Release(key, 1)
	entries, end, readErr := c.Journal.Entries(ctx, q)
	late := time.Now().Add(takeTimeout)
	for i := range entries {
		if time.Now().After(late) {
			return end, &interfaces.OverloadedError{Reason: fmt.Sprintf("the entries were not taken within %v", takeTimeout)}
		}
		if err := send(&entries[i]); err != nil {
			return end, err
		}
	}
	if readErr != nil {
		return end, hostFailure(ctx, "read the journal", readErr)
	}
	return end, send(nil)
}

// logQuery has the caller authorised, and returns what it may read of what it asks for.
func (c *Core) logQuery(ctx context.Context, call *call, p interfaces.ReadLogParameters) (LogQuery, error) {
	q := LogQuery{Profile: orEmpty(p.Profile), Lines: interfaces.DefaultLogLines, SinceUSec: p.SinceUSec}
	id, err := checkSelectors(interfaces.ListParameters{ID: p.ID, Agent: p.Agent, Profile: p.Profile})
	if p.ID != nil && id != (interfaces.ID{}) && call.Caller.sees(id.Agent) {
		call.setSidecar(id)
	}
	if err = cmp.Or(err, checkLogBounds(p)); err != nil {
		return q, err
	}
	if p.Lines != nil {
		q.Lines = int(*p.Lines)
	}
	if err = c.authorise(ctx, call); err != nil {
		return q, err
	}
	if p.ID != nil {
		q.ID = &id
		return q, c.checkLogOf(ctx, call, id, p)
	}
	if call.Caller.Agent == "" && p.Agent == nil {
		for _, agent := range c.policy.Load().Agents() {
			q.Agents = append(q.Agents, agent.Name)
		}
		return q, nil
	}
	agent, err := call.Caller.agentFor(p.Agent)
	q.Agents = []string{agent}
	return q, err
}

// checkLogOf returns an error if the selectors exclude the sidecar, or if it is in another
// network namespace than polkit was told. It need not exist any more.
func (c *Core) checkLogOf(ctx context.Context, call *call, id interfaces.ID, p interfaces.ReadLogParameters) error {
	if !call.Caller.sees(id.Agent) || p.Agent != nil && *p.Agent != id.Agent || p.Profile != nil && *p.Profile != id.Profile {
		return &interfaces.NoSuchSidecarError{ID: p.ID}
	}
	if call.Authorisation.By != ByPolkit {
		return nil
	}
	if unit, err := c.Units.Get(ctx, id.Unit()); err == nil {
		return c.checkNamespace(call, unit)
	}
	return nil
}

func checkLogBounds(p interfaces.ReadLogParameters) error {
	if p.Lines != nil && (*p.Lines < 0 || *p.Lines > interfaces.MaxLogLines) {
		return invalid("lines", fmt.Sprintf("%d is not from 0 to %d", *p.Lines, interfaces.MaxLogLines))
	}
	if p.SinceUSec != nil && *p.SinceUSec < 0 {
		return invalid("sinceUSec", fmt.Sprintf("%d is before the epoch; it is microseconds since then", *p.SinceUSec))
	}
	return nil
}
