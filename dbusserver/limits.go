package dbusserver

import "sync"

// Limits bound what callers can take. Zero means the default.
type Limits struct {
	MessageBytes   int // longest body of a call; default 256 KiB, as on varlink
	ReplyBytes     int // longest answer; default 16 MiB: the bus hangs up on who sends more than 32
	CallsPerSender int // that wait or are carried out; default 128, as many as the bus lets wait for answers
	BytesPerSender int // of their messages; default 2 MiB
	BytesUnknown   int // the same before it is known who the sender is, but for one message; default 128 KiB
	BytesTotal     int // of all senders; default 96 MiB: more than one user can have of BytesUnknown
	CallsPerUser   int // of one user, other than root, that are carried out; default 128
	CallsStrangers int // of all users but root that are carried out; default 256
	LargeAnswers   int // lists that are being written for users other than root; default 4
}

func (l Limits) withDefaults() Limits {
	for _, field := range []struct {
		value *int
		def   int
	}{
		{&l.MessageBytes, 256 << 10},
		{&l.ReplyBytes, 16 << 20},
		{&l.CallsPerSender, 128},
		{&l.BytesPerSender, 2 << 20},
		{&l.BytesUnknown, 128 << 10},
		{&l.BytesTotal, 96 << 20},
		{&l.CallsPerUser, 128},
		{&l.CallsStrangers, 256},
		{&l.LargeAnswers, 4},
	} {
		if *field.value <= 0 {
			*field.value = field.def
		}
	}
	return l
}

// gate counts calls, by sender from the moment when they are read, and by user from
// the moment when it is known who that is. A flood of one user's must not take the
// places of another's, and least of all of root's.
type gate struct {
	limits Limits

	mu        sync.Mutex
	bytes     int
	strangers int
	sender    map[string]load
	user      map[uint32]int
}

type load struct{ calls, bytes int }

func newGate(limits Limits) *gate {
	return &gate{limits: limits, sender: map[string]load{}, user: map[uint32]int{}}
}

// enter counts a call of a sender. If it returns no error, leave must follow.
func (g *gate) enter(sender string, bytes int, known bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	its := g.sender[sender]
	limit := g.limits.BytesPerSender
	if !known {
		limit = max(g.limits.BytesUnknown, bytes)
	}
	switch {
	case its.calls >= g.limits.CallsPerSender, its.bytes+bytes > limit:
		return errorf("LimitsExceeded", "this connection has %d calls under way, wait for some of them", its.calls)
	case g.bytes+bytes > g.limits.BytesTotal:
		return errorf("LimitsExceeded", "there are too many calls under way, try again later")
	}
	g.count(sender, 1, bytes)
	return nil
}

func (g *gate) leave(sender string, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(sender, -1, -bytes)
}

// count keeps no zeros, so that the map does not grow with every sender ever seen.
func (g *gate) count(sender string, calls, bytes int) {
	g.bytes += bytes
	its := g.sender[sender]
	its.calls += calls
	its.bytes += bytes
	if g.sender[sender] = its; its.calls == 0 {
		delete(g.sender, sender)
	}
}

// enterUser counts a call of a user. If it returns no error, leaveUser must follow.
// Root is not counted.
func (g *gate) enterUser(uid uint32) error {
	if uid == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.user[uid] >= g.limits.CallsPerUser:
		return errorf("LimitsExceeded", "user %d has %d calls under way, wait for some of them", uid, g.user[uid])
	case g.strangers >= g.limits.CallsStrangers:
		return errorf("LimitsExceeded", "users other than root have %d calls under way, try again later", g.strangers)
	}
	g.strangers++
	g.user[uid]++
	return nil
}

func (g *gate) leaveUser(uid uint32) {
	if uid == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.strangers--
	if g.user[uid]--; g.user[uid] == 0 {
		delete(g.user, uid)
	}
}
