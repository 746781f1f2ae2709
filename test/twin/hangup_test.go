package twin

import (
	"context"
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// TestTwinHangUp has a caller go while polkit thinks. Nothing is done, even if polkit
// then says yes, and the journal has it.
func TestTwinHangUp(t *testing.T) {
	s := newSuite(t)
	for _, r := range []request{
		{"Launch", dnsmasq()},
		{"Stop", interfaces.StopParameters{ID: here.String()}},
		{"Signal", interfaces.SignalParameters{ID: here.String(), Signal: "SIGKILL"}},
		{"List", interfaces.ListParameters{}},
	} {
		var want outcome
		for i, tr := range transports() {
			t.Run(r.method+" by "+tr.name, func(t *testing.T) {
				got, offered := leave(t, s, tr, r)
				if !offered {
					return
				}
				if i == 0 {
					want = got
				}
				if d := differences(want, got); d != "" {
					t.Errorf("differs (-direct +%s):\n%s", tr.name, d)
				}
				if len(got.Journal) != 1 || got.Journal[0].Decision.Verdict() != "allowed" && got.Journal[0].Error == nil || len(got.Questions) != 1 {
					t.Errorf("the journal has %+v", got.Journal)
				}
			})
		}
	}
}

// leave makes a call and hangs up when polkit has been asked.
func leave(t *testing.T, s *suite, tr transport, r request) (outcome, bool) {
	t.Helper()
	h := newHost(t, s.set)
	h.launched(t, dnsmasq())
	h.forget()
	h.polkit.hang, h.polkit.answer = true, operator.answer
	call := tr.open(t, s, h, operator)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	offered := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := call(ctx, r)
		offered <- !errors.Is(err, errNotOffered)
	}()
	select {
	case <-ended:
	case <-untilAsked(ctx, h):
	}
	cancel()
	<-ended
	if !<-offered {
		return outcome{}, false
	}
	var decisions []service.Decision
	eventually(t, "the journal has it", func() bool {
		decisions = append(decisions, h.journal.take()...)
		return len(decisions) > 0
	})
	return outcome{Journal: entriesOf(decisions), Questions: questionsOf(h.polkit.take()), Effects: h.effects(t)}, true
}

// untilAsked is closed when polkit has been asked.
func untilAsked(ctx context.Context, h *host) <-chan struct{} {
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for h.polkit.count() == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}()
	return asked
}
