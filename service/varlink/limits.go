package varlink

import (
	"errors"
	"time"
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
	CrowdedTimeout         time.Duration // the same while other callers of the agent wait for a place; default 5 s
	WriteTimeout           time.Duration // for one reply to be taken by the peer; default 30 s
}

// withDefaults fills in what is zero, and refuses what is negative.
func (l Limits) withDefaults() (Limits, error) {
	ok := fill(&l.MessageBytes, 256<<10)
	ok = fill(&l.ConnectionsPerListener, 64) && ok
	ok = fill(&l.ConnectionsPerUID, 64) && ok
	ok = fill(&l.ConnectionsTotal, 4096) && ok
	ok = fill(&l.ConnectionsStrangers, 256) && ok
	ok = fill(&l.ReadTimeout, 10*time.Second) && ok
	ok = fill(&l.IdleTimeout, 10*time.Minute) && ok
	ok = fill(&l.CrowdedTimeout, 5*time.Second) && ok
	ok = fill(&l.WriteTimeout, 30*time.Second) && ok
	if !ok {
		return l, errors.New("a limit is negative")
	}
	return l, nil
}

func fill[T int | time.Duration](value *T, def T) bool {
	if *value == 0 {
		*value = def
	}
	return *value > 0
}
