package dbusserver

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/service"
)

// blocking is a core whose Stop tells that it has begun, and ends with its context
// or when it may.
type blocking struct {
	fakeCore
	begun  chan service.Caller
	finish chan struct{}
	ended  chan error
}

func newBlocking() *blocking {
	c := &blocking{begun: make(chan service.Caller, 1000), finish: make(chan struct{}), ended: make(chan error, 1000)}
	c.stop = func(ctx context.Context, caller service.Caller, _ interfaces.StopParameters) (interfaces.StopReply, error) {
		c.begun <- caller
		select {
		case <-ctx.Done():
		case <-c.finish:
		}
		c.ended <- ctx.Err()
		return interfaces.StopReply{}, ctx.Err()
	}
	return c
}

func stopOf(sender string) message {
	return message{sender: sender, member: "Stop", body: []any{anID, options{}}}
}

func pingOf(sender string) message {
	return message{sender: sender, iface: peerInterface, member: "Ping"}
}

// receive waits for an element, but not for ever.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("not within a minute: %s", what)
		panic("unreachable")
	}
}

func TestDBusCallsEndWithTheirSender(t *testing.T) {
	t.Parallel()
	core := newBlocking()
	b := startBus(t, core, nil)
	b.send(stopOf(":1.1000"))
	stays := b.send(stopOf(":1.1001"))
	receive(t, core.begun, "the first call")
	receive(t, core.begun, "the second call")
	b.emit(bus.Name, "NameOwnerChanged", ":1.1000", ":1.1000", "")
	if err := receive(t, core.ended, "the first call has ended"); err == nil {
		t.Error("the call of a sender that has left was not cancelled")
	}
	close(core.finish)
	if body, failure := b.take(stays); failure != "" {
		t.Error("the other sender's call:", failure, body)
	}
}

func TestDBusAsksOnceWhoASenderIs(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{}, nil)
	var answers []<-chan *godbus.Message
	for range 20 {
		answers = append(answers, b.send(pingOf(":1.1000")))
	}
	for _, answer := range answers {
		if _, failure := b.take(answer); failure != "" {
			t.Error(failure)
		}
	}
	if n := b.count("GetConnectionCredentials"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	b.emit(bus.Name, "NameOwnerChanged", ":1.1000", ":1.1000", "")
	b.call(pingOf(":1.1000"))
	if n := b.count("GetConnectionCredentials"); n != 2 {
		t.Errorf("after it had left: asked %d times", n)
	}
}

// TestDBusUnknownSenderIsDenied has a bus that does not know the caller at first.
func TestDBusUnknownSenderIsDenied(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answers := []func(c *client, m *godbus.Message){
		func(c *client, m *godbus.Message) { c.fail(m, "org.freedesktop.DBus.Error.NameHasNoOwner") },
		func(c *client, m *godbus.Message) { c.reply(m, options{}) },
		func(c *client, m *godbus.Message) { c.reply(m, options{"UnixUserID": godbus.MakeVariant("0")}) },
		func(c *client, m *godbus.Message) { c.reply(m) },
	}
	b := startBus(t, &fakeCore{}, func(_ *Config, b *memoryBus) {
		b.answer = func(c *client, m *godbus.Message) bool {
			mu.Lock()
			defer mu.Unlock()
			if m.Headers[godbus.FieldMember].Value() != "GetConnectionCredentials" || len(answers) == 0 {
				return false
			}
			answers[0](c, m)
			answers = answers[1:]
			return true
		}
	})
	for range 4 {
		if body, failure := b.call(pingOf(":1.0")); failure != "org.freedesktop.DBus.Error.AccessDenied" {
			t.Error(failure, body)
		}
	}
	if body, failure := b.call(pingOf(":1.0")); failure != "" {
		t.Error("when the bus says it:", failure, body)
	}
}

// TestDBusLimits holds each limit, and that root gets in past the other users.
func TestDBusLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits  Limits
		under   []string // senders with a call under way
		refused string
		served  string
	}{
		"sender":    {Limits{CallsPerSender: 2}, []string{":1.7", ":1.7"}, ":1.7", ":1.8"},
		"user":      {Limits{CallsPerUser: 2}, []string{":1.7", ":1.07"}, ":1.007", ":1.8"},
		"strangers": {Limits{CallsStrangers: 2}, []string{":1.7", ":1.8"}, ":1.9", ":1.0"},
		"bytes":     {Limits{BytesPerSender: 400}, []string{":1.7", ":1.7"}, ":1.7", ":1.8"},
		"all bytes": {Limits{BytesTotal: 400}, []string{":1.7", ":1.0"}, ":1.0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core := newBlocking()
			b := startBus(t, core, func(config *Config, _ *memoryBus) { config.Limits = c.limits })
			for _, sender := range c.under {
				b.send(stopOf(sender))
				receive(t, core.begun, "a call of "+sender)
			}
			if body, failure := b.call(stopOf(c.refused)); failure != generic+"LimitsExceeded" {
				t.Errorf("%s: %s %v", c.refused, failure, body)
			}
			if c.served != "" {
				if body, failure := b.call(pingOf(c.served)); failure != "" {
					t.Errorf("%s: %s %v", c.served, failure, body)
				}
			}
			close(core.finish)
			for range c.under {
				receive(t, core.ended, "a call")
			}
			b.eventually("the places are free again", func() bool {
				_, failure := b.call(pingOf(c.refused))
				return failure == ""
			})
		})
	}
}

// eventually waits until ok says so.
func (b *memoryBus) eventually(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestDBusLongMessagesAreRefusedUnread(t *testing.T) {
	t.Parallel()
	rejected := make(chan service.Rejection, 1)
	b := startBus(t, &fakeCore{}, func(c *Config, _ *memoryBus) {
		c.Limits.MessageBytes = 1000
		c.Rejected = func(r service.Rejection) { rejected <- r }
	})
	m := pingOf(":1.7")
	m.body = []any{strings.Repeat("x", 2000)}
	if body, failure := b.call(m); failure != generic+"LimitsExceeded" {
		t.Error(failure, body)
	}
	if got := receive(t, rejected, "the rejection"); got != service.RejectedByLimit {
		t.Errorf("it is counted as %s", got)
	}
	if b.count("GetConnectionCredentials") != 0 {
		t.Error("it was looked at")
	}
	if body, failure := b.call(pingOf(":1.7")); failure != "" {
		t.Error(failure, body)
	}
}

func TestDBusLongAnswersAreNotSent(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{list: func(service.Caller, interfaces.ListParameters) ([]interfaces.Sidecar, error) {
		return []interfaces.Sidecar{aSidecar(anID), aSidecar(anotherID)}, nil
	}}, func(c *Config, _ *memoryBus) {
		c.Limits.ReplyBytes = 500
		c.Rejected = func(r service.Rejection) {
			t.Errorf("a call that the core has carried out is counted as rejected: %s", r)
		}
	})
	body, failure := b.call(message{sender: ":1.0", member: "List", body: []any{options{}}})
	if failure != generic+"LimitsExceeded" || !strings.Contains(body[0].(string), "select fewer") {
		t.Error(failure, body)
	}
}

// TestDBusNoReplyIsSentToWhoWantsNone has a call that fails and one that does not.
func TestDBusNoReplyIsSentToWhoWantsNone(t *testing.T) {
	t.Parallel()
	b := startBus(t, &fakeCore{}, nil)
	quiet := pingOf(":1.7")
	quiet.flags = godbus.FlagNoReplyExpected
	wrong := quiet
	wrong.member = "Pong"
	answers := []<-chan *godbus.Message{b.send(quiet), b.send(wrong)}
	for range 50 {
		b.call(pingOf(":1.7"))
	}
	for _, answer := range answers {
		select {
		case m := <-answer:
			t.Error("answered with", m)
		default:
		}
	}
}
