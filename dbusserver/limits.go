package dbusserver

import "tripleo.io/sidecar/internal/quota"

// Limits bound what callers can take. Zero means the default.
type Limits struct {
	MessageBytes   int // longest body of a call; default 256 KiB, as on varlink
	ReplyBytes     int // longest answer; default 16 MiB: the bus hangs up on a sender of more than 32
	CallsPerSender int // waiting or carried out; default 128, as many as the bus lets wait for answers
	BytesPerSender int // of their messages; default 2 MiB
	BytesUnknown   int // the same while the sender's user is unknown, unless it is one message; default 128 KiB
	BytesTotal     int // of all senders; default 96 MiB: more than one user can have of BytesUnknown
	CallsPerUser   int // carried out for one user other than root; default 128
	CallsStrangers int // carried out for all users but root; default 256
	LargeAnswers   int // lists that are written at once for users other than root; default 4
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

// gate counts calls, by sender from the moment when they are read, and by user once the
// sender's user is known. A flood of one user's calls must not take the places of another
// user's, and least of all of root's.
type gate struct {
	limits       Limits
	calls, bytes *quota.Quota[string] // by sender
	users        *quota.Quota[uint32] // calls; without root
}

func newGate(limits Limits) *gate {
	return &gate{
		limits: limits,
		calls:  quota.New[string](limits.CallsPerSender, quota.NoLimit),
		bytes:  quota.New[string](limits.BytesPerSender, limits.BytesTotal),
		users:  quota.New[uint32](limits.CallsPerUser, limits.CallsStrangers),
	}
}

// enter counts a call of a sender. If it returns no error, leave must follow. identified
// says whether the sender's user is known. One goroutine at a time may call enter.
func (g *gate) enter(sender string, bytes int, identified bool) error {
	calls := g.calls.Held(sender)
	busy := func() error {
		return errorf("LimitsExceeded", "this connection has %d calls under way, wait for some of them", calls)
	}
	if held := g.bytes.Held(sender); !identified && held > 0 && held+bytes > g.limits.BytesUnknown {
		return busy()
	}
	if g.calls.Take(sender, 1) != quota.Taken {
		return busy()
	}
	outcome := g.bytes.Take(sender, bytes)
	if outcome == quota.Taken {
		return nil
	}
	g.calls.Release(sender, 1)
	if outcome == quota.KeyFull {
		return busy()
	}
	return errorf("LimitsExceeded", "there are too many calls under way, try again later")
}

func (g *gate) leave(sender string, bytes int) {
	g.calls.Release(sender, 1)
	g.bytes.Release(sender, bytes)
}

// enterUser counts a call of a user. If it returns no error, leaveUser must follow.
// Root is not counted.
func (g *gate) enterUser(uid uint32) error {
	if uid == 0 {
		return nil
	}
	switch g.users.Take(uid, 1) {
	case quota.KeyFull:
		return errorf("LimitsExceeded", "user %d has %d calls under way, wait for some of them", uid, g.users.Held(uid))
	case quota.Full:
		return errorf("LimitsExceeded", "users other than root have %d calls under way, try again later", g.users.InUse())
	}
	return nil
}

func (g *gate) leaveUser(uid uint32) {
	if uid != 0 {
		g.users.Release(uid, 1)
	}
}
