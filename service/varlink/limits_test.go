package varlink

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service"
)

// alive fails the test unless the connection answers.
func (c *rawClient) alive() {
	c.t.Helper()
	c.send(echoCall)
	c.want(echoed)
}

// TestVarlinkConnectionLimit shows that the connection over an agent's limit
// waits until a place is free and is then served, and that this agent's other
// connections, other agents and the host's socket do not notice.
func TestVarlinkConnectionLimit(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	all := []*rawClient{}
	for range 64 {
		c := server.dial(t)
		c.alive()
		all = append(all, c)
	}
	over := server.dial(t)
	over.send(echoCall)
	served := make(chan struct{})
	go func() {
		defer close(served)
		over.want(echoed)
	}()
	for _, c := range append(all, dial(t, server.listen(t, "other")), dial(t, server.listen(t, ""))) {
		c.alive()
	}
	select {
	case <-served:
		t.Fatal("the connection over the limit was served")
	case <-time.After(100 * time.Millisecond):
	}
	all[0].Close()
	<-served
}

func TestVarlinkConnectionsOfEachKind(t *testing.T) {
	t.Parallel()
	g := newConnections(Limits{ConnectionsPerListener: 2, ConnectionsPerUID: 2, ConnectionsTotal: 3, ConnectionsStrangers: 3})
	a, b := service.Caller{Agent: "a"}, service.Caller{Agent: "b", UID: 7}
	root, user, other := service.Caller{}, service.Caller{UID: 7}, service.Caller{UID: 8}
	for i, step := range []struct {
		caller service.Caller
		want   string
	}{
		{a, ""},
		{a, ""},
		{a, "agent a has 2 connections"},
		{user, ""},
		{user, ""},
		{user, "user 7 has 2 connections"},
		{other, ""},
		{other, "users other than root have 3 connections in all"},
		{b, ""}, // whatever strangers do
		{b, "the agents have 3 connections in all"},
		{root, ""},
		{root, ""},
		{root, "user 0 has 2 connections"},
	} {
		got := ""
		if err := g.enter(step.caller); err != nil {
			got = err.Error()
		}
		if got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	for _, p := range []service.Caller{a, a, b, user, user, other, root, root} {
		g.leave(p)
	}
	if g.agents.InUse()+g.strangers.InUse()+g.root.InUse() != 0 {
		t.Errorf("something stays counted: %+v", g)
	}
}

// TestVarlinkSlowloris shows that a begun message must be finished in time, also
// one that grows by a byte now and then, and that an idle connection may stay
// longer, but not for ever.
func TestVarlinkSlowloris(t *testing.T) {
	t.Parallel()
	limits := Limits{ReadTimeout: 300 * time.Millisecond, IdleTimeout: time.Hour}
	server := newServing(t, limits)
	for name, send := range map[string]func(*rawClient){
		"stuck":    func(c *rawClient) { _, _ = c.Write([]byte("{")) },
		"stuck, 2": func(c *rawClient) { _, _ = c.Write([]byte(echoCall + "\x00{")); c.want(echoed) },
		"drip": func(c *rawClient) {
			for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if _, err := c.Write([]byte(" ")); err != nil {
					return
				}
			}
			t.Error("it was not closed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, start := server.dial(t), time.Now()
			send(c)
			c.want("")
			if took := time.Since(start); took < limits.ReadTimeout {
				t.Errorf("closed after %v", took)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		limits := Limits{ReadTimeout: 100 * time.Millisecond, IdleTimeout: 3 * time.Second}
		c, start := newServing(t, limits).dial(t), time.Now()
		time.Sleep(2 * limits.ReadTimeout)
		c.alive()
		c.want("")
		if took := time.Since(start); took < limits.IdleTimeout {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestVarlinkEndlessMessage sends 300 MB without a NUL: the connection ends at
// the limit, and the message never takes more memory than that.
func TestVarlinkEndlessMessage(t *testing.T) {
	server := newServing(t, Limits{})
	c := server.dial(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	block, sent := []byte(strings.Repeat(" ", 64<<10)), 0
	for sent < 300<<20 {
		n, err := c.Write(block)
		if sent += n; err != nil {
			break
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; sent > 1<<20 || grown > 4<<20 {
		t.Errorf("%d bytes were taken, %d allocated in all", sent, grown)
	}
	server.dial(t).alive()
}

func TestVarlinkLongestMessage(t *testing.T) {
	t.Parallel()
	c := newServing(t, Limits{}).dial(t)
	c.send(echoCall + strings.Repeat(" ", 256<<10-len(echoCall)))
	c.want(echoed)
	c.send(echoCall + strings.Repeat(" ", 256<<10-len(echoCall)+1))
	c.want("")
}

// TestVarlinkStuckReader shows that a peer that does not take its replies loses
// its connection.
func TestVarlinkStuckReader(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{WriteTimeout: 100 * time.Millisecond})
	c := server.dial(t)
	c.alive()
	c.send(count("1000000", `,"more":true`))
	for end := time.Now().Add(patience); connected(server) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is kept")
		}
	}
	replies := 0
	for c.recv() != "" {
		replies++
	}
	if replies == 0 || replies >= 1000000 {
		t.Errorf("%d replies", replies)
	}
}

// connected is how many the agents have.
func connected(s *serving) int { return s.connections.agents.InUse() }

func TestVarlinkLimitsRefuseNegative(t *testing.T) {
	t.Parallel()
	good := Config{Interface: Interface{"a.b", "interface a.b", methods(nil)}}
	if _, err := NewServer(good); err != nil {
		t.Error(err)
	}
	bad := good
	bad.Limits.IdleTimeout = -1
	if _, err := NewServer(bad); err == nil {
		t.Error("a negative limit is taken")
	}
	bad = good
	bad.Interface.Methods = nil
	if _, err := NewServer(bad); err == nil {
		t.Error("an interface without methods is taken")
	}
}

// TestVarlinkThrottle shows that a peer cannot flood the log.
func TestVarlinkThrottle(t *testing.T) {
	t.Parallel()
	throttle := newThrottle(slog.New(slog.DiscardHandler), time.Second)
	type line struct {
		skipped int
		ok      bool
	}
	start := time.Now()
	got := []line{}
	for _, step := range []struct {
		agent string
		after time.Duration
	}{{"a", 0}, {"a", 0}, {"b", 0}, {"a", 900 * time.Millisecond}, {"a", time.Second}, {"a", 2 * time.Second}} {
		skipped, ok := throttle.pass(throttleKey{step.agent, "m"}, start.Add(step.after))
		got = append(got, line{skipped, ok})
	}
	want := []line{{0, true}, {0, false}, {0, true}, {0, false}, {2, true}, {0, true}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
