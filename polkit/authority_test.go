package polkit

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/internal/bus/bustest"
)

// result is what CheckAuthorization answers.
type result struct {
	Authorised, Challenge bool
	Details               map[string]string
}

// scripted is a polkit that answers as the test says.
type scripted struct {
	*Authority
	bus *bustest.Bus

	mu      sync.Mutex
	asked   []*bustest.Call
	members []string
}

// script starts a polkit of the version. check is what it does when it is asked.
func script(t *testing.T, config Config, version string, check func(*bustest.Call)) *scripted {
	t.Helper()
	s := &scripted{}
	s.bus = bustest.New(t, func(c *bustest.Call) {
		s.mu.Lock()
		s.members = append(s.members, c.Member)
		if c.Member == "CheckAuthorization" {
			s.asked = append(s.asked, c)
		}
		s.mu.Unlock()
		switch c.Member {
		case "Get":
			c.Reply(dbus.MakeVariant(version))
		case "CheckAuthorization":
			check(c)
		}
	})
	config.Address = s.bus.Address
	s.Authority = New(config)
	t.Cleanup(s.Close)
	return s
}

func (s *scripted) count(member string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m == member {
			n++
		}
	}
	return n
}

func answering(r result) func(*bustest.Call) { return func(c *bustest.Call) { c.Reply(r) } }

func failing(name string) func(*bustest.Call) {
	return func(c *bustest.Call) { c.Fail(name, "so it is") }
}

func silent(*bustest.Call) {}

var request = Request{
	Subject: BusName(":1.42"), Action: "io.tripleo.sidecar.stop",
	Details: map[string]string{"agent": "a", "profile": "p"},
}

func TestCheckAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		check func(*bustest.Call)
		want  Verdict
		err   string
	}{
		"yes":              {answering(result{Authorised: true}), Authorised, ""},
		"no":               {answering(result{}), Denied, ""},
		"dismissed":        {answering(result{Details: map[string]string{"polkit.dismissed": "true"}}), Denied, ""},
		"authenticate":     {answering(result{Challenge: true}), NeedsAuthentication, ""},
		"yes and no":       {answering(result{Authorised: true, Challenge: true}), Denied, "makes no sense"},
		"an empty answer":  {func(c *bustest.Call) { c.Reply() }, Denied, "makes no sense"},
		"another answer":   {func(c *bustest.Call) { c.Reply(true) }, Denied, "makes no sense"},
		"three booleans":   {func(c *bustest.Call) { c.Reply(true, true, true) }, Denied, "makes no sense"},
		"no such action":   {failing("org.freedesktop.PolicyKit1.Error.Failed"), Denied, "org.freedesktop.PolicyKit1.Error.Failed: so it is"},
		"no polkit":        {failing("org.freedesktop.DBus.Error.ServiceUnknown"), Denied, "not installed"},
		"it is killed":     {failing("org.freedesktop.DBus.Error.NoReply"), Denied, "went away"},
		"the bus refuses":  {failing("org.freedesktop.DBus.Error.LimitsExceeded"), Denied, "LimitsExceeded"},
		"a malformed name": {failing("org.freedesktop.PolicyKit1.Error.NotAuthorized"), Denied, "NotAuthorized"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := script(t, Config{}, "126", c.check)
			got, err := s.Check(t.Context(), request)
			if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, %v; want %v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestCheckAsksWhatItIsTold(t *testing.T) {
	t.Parallel()
	s := script(t, Config{}, "126", answering(result{Authorised: true}))
	interactive := request
	interactive.Interactive, interactive.Details = true, nil
	for _, r := range []Request{request, interactive} {
		if _, err := s.Check(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	subject := []any{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(":1.42")}}
	want := [][]any{
		{subject, "io.tripleo.sidecar.stop", map[string]string{"agent": "a", "profile": "p"}, uint32(0), "1"},
		{subject, "io.tripleo.sidecar.stop", map[string]string{}, uint32(1), "2"},
	}
	for i, c := range s.asked {
		if d := cmp.Diff(want[i], c.Body, cmp.Comparer(func(a, b dbus.Variant) bool { return a.String() == b.String() })); d != "" {
			t.Errorf("question %d (-want +got):\n%s", i, d)
		}
		if got := c.Headers[dbus.FieldDestination].Value(); got != "org.freedesktop.PolicyKit1" {
			t.Errorf("asked %v", got)
		}
	}
}

// TestCheckPassesThePIDFD sends a file whose content proves that it is the one.
func TestCheckPassesThePIDFD(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/stands-for-a-pidfd"
	if err := os.WriteFile(path, []byte("it is me"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := script(t, Config{}, "124", func(c *bustest.Call) {
		text := make([]byte, 100)
		if len(c.Files) != 1 {
			c.Reply(result{})
			return
		}
		n, _ := c.Files[0].ReadAt(text, 0)
		c.Reply(result{Authorised: string(text[:n]) == "it is me"})
	})
	r := request
	r.Subject = Process(int(file.Fd()), 4294967294)
	if got, err := s.Check(t.Context(), r); got != Authorised || err != nil {
		t.Fatalf("%v, %v: the pidfd has not arrived", got, err)
	}
	subject := s.asked[0].Body[0].([]any)
	details := subject[1].(map[string]dbus.Variant)
	if subject[0] != "unix-process" || len(details) != 2 || details["pidfd"].Value() != dbus.UnixFDIndex(0) || details["uid"].Value() != int32(-2) {
		t.Errorf("subject %v", subject)
	}
}

func TestCheckRefusesProcessesOfAnOldPolkit(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.105", "122", "123", "", "x"} {
		s := script(t, Config{}, version, answering(result{Authorised: true}))
		r := request
		r.Subject = Process(0, 1000)
		got, err := s.Check(t.Context(), r)
		if got != Denied || err == nil || !strings.Contains(err.Error(), ErrNoPIDFD.Error()) {
			t.Errorf("polkit %q: %v, %v", version, got, err)
		}
		if n := s.count("CheckAuthorization"); n != 0 {
			t.Errorf("polkit %q was asked", version)
		}
	}
}

func TestCheckEndsInTime(t *testing.T) {
	t.Parallel()
	short := time.Second
	for name, c := range map[string]struct {
		config  Config
		request func(*Request)
	}{
		"plain":       {Config{Timeout: short, InteractiveTimeout: time.Hour}, func(*Request) {}},
		"interactive": {Config{Timeout: time.Hour, InteractiveTimeout: short}, func(r *Request) { r.Interactive = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := script(t, c.config, "126", silent)
			r := request
			c.request(&r)
			got, err := s.Check(t.Context(), r)
			if got != Denied || err == nil || !strings.Contains(err.Error(), "not answered within 1s") {
				t.Errorf("%v, %v", got, err)
			}
			s.waitFor(t, "CancelCheckAuthorization", 1)
		})
	}
}

// waitFor waits until a method has been called so often.
func (s *scripted) waitFor(t *testing.T, member string, times int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.count(member) < times; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %s, want %d", s.count(member), member, times)
		}
	}
}

func TestCheckOfACallerThatLeavesIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	s := script(t, Config{}, "126", func(*bustest.Call) { leave() })
	if got, err := s.Check(ctx, request); got != Denied || err == nil {
		t.Errorf("%v, %v", got, err)
	}
	s.waitFor(t, "CancelCheckAuthorization", 1)
}

// TestCheckCountsWhatIsNotAnswered has a polkit that hangs, and then answers.
func TestCheckCountsWhatIsNotAnswered(t *testing.T) {
	t.Parallel()
	wake := make(chan struct{})
	s := script(t, Config{}, "126", func(c *bustest.Call) {
		<-wake
		c.Reply(result{Authorised: true})
	})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range maxUnanswered {
		group.Go(func() {
			if got, err := s.Check(ctx, request); got != Denied || err == nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	s.waitFor(t, "CheckAuthorization", maxUnanswered)
	cancel()
	group.Wait()
	if got, err := s.Check(t.Context(), request); got != Denied || err == nil || !strings.Contains(err.Error(), "96 questions") {
		t.Errorf("one more: %v, %v", got, err)
	}
	close(wake)
	for end := time.Now().Add(time.Minute); len(s.unanswered) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d questions are still counted", len(s.unanswered))
		}
	}
	if got, err := s.Check(t.Context(), request); got != Authorised || err != nil {
		t.Errorf("when it answers again: %v, %v", got, err)
	}
}
