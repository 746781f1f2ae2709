package polkit

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tripleo.io/sidecar/internal/bus/bustest"
)

func TestCheckComesBackAfterTheBus(t *testing.T) {
	t.Parallel()
	s := script(t, Config{}, "126", answering(result{Authorised: true}))
	if _, err := s.Check(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	s.bus.Disconnect()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got, err := s.Check(t.Context(), request)
		if err == nil && got == Authorised {
			return
		}
		if err == nil || time.Now().After(end) {
			t.Fatalf("%v, %v", got, err)
		}
	}
}

func TestCheckWhenTheBusGoesInMidQuestion(t *testing.T) {
	t.Parallel()
	s := script(t, Config{}, "126", (*bustest.Call).HangUp)
	if got, err := s.Check(t.Context(), request); got != Denied || err == nil || !strings.Contains(err.Error(), "the bus") {
		t.Errorf("%v, %v", got, err)
	}
	if len(s.unanswered) != 0 {
		t.Error("the question is still counted")
	}
}

func TestCheckWithoutABusOrASubject(t *testing.T) {
	t.Parallel()
	a := New(Config{Address: "unix:path=/nonexistent/bus"})
	if got, err := a.Check(t.Context(), request); got != Denied || err == nil {
		t.Errorf("without a bus: %v, %v", got, err)
	}
	s := script(t, Config{}, "126", answering(result{Authorised: true}))
	if got, err := s.Check(t.Context(), Request{Action: "x"}); got != Denied || err == nil {
		t.Errorf("about nobody: %v, %v", got, err)
	}
}

// TestCheckAsksAgainOnTheNextBus has a bus that goes in the middle of questions. One
// about a bus name must not be asked on another bus: there it is somebody else's.
func TestCheckAsksAgainOnTheNextBus(t *testing.T) {
	t.Parallel()
	sender, process := request, request
	process.Subject = Process(0, 1000)
	for name, c := range map[string]struct {
		request Request
		going   int32 // how many buses go
		want    Verdict
		asked   int
	}{
		"a process":             {process, 1, Authorised, 2},
		"a process, and again":  {process, 2, Authorised, 3},
		"a process, every time": {process, 1000, Denied, maxAttempts},
		"a bus name":            {sender, 1, Denied, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var gone atomic.Int32
			s := script(t, Config{}, "126", func(call *bustest.Call) {
				if gone.Add(1) <= c.going {
					call.HangUp()
					return
				}
				call.Reply(result{Authorised: true})
			})
			got, err := s.Check(t.Context(), c.request)
			if got != c.want || (err == nil) != (c.want == Authorised) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
			if n := s.count("CheckAuthorization"); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			if len(s.unanswered) != 0 {
				t.Error("a question is still counted")
			}
		})
	}
}
