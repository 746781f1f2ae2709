package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// hangingJournal does not answer until it is released.
type hangingJournal struct {
	*fakeJournal
	release chan struct{}
	reads   chan struct{}
}

func (j *hangingJournal) Output(ctx context.Context, id interfaces.ID, invocation string, started time.Time) []string {
	j.reads <- struct{}{}
	select {
	case <-j.release:
	case <-ctx.Done():
	}
	return j.fakeJournal.Output(ctx, id, invocation, started)
}

// TestHardeningOutputHoldsNothing shows that a launch that failed and waits for the
// journal keeps no other one waiting, of the same sidecar or of the same agent.
func TestHardeningOutputHoldsNothing(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	journal := &hangingJournal{h.journal, make(chan struct{}), make(chan struct{}, 100)}
	h.core.Journal = journal
	h.units.OnStart = always(systemd.FailedWith(3))
	var failed []<-chan error
	for range 3 {
		failed = append(failed, h.launching(t, dnsmasqFor("net-1")))
		<-journal.reads
	}
	h.units.OnStart = nil
	h.launched(t)
	h.launch(t, "net-2")
	close(journal.release)
	for _, done := range failed {
		var failure *interfaces.LaunchFailedError
		if err := <-done; !errors.As(err, &failure) || len(failure.Output) == 0 {
			t.Errorf("got %v, want a failed launch with its output", err)
		}
	}
	h.nothingHeld(t.Context(), t)
}
