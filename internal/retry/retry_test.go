package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeepPausesAfterErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		failure := errors.New("no bus")
		sessions := []struct {
			lasts     time.Duration
			connected bool
			err       error
		}{
			{0, false, failure}, {time.Second, true, failure}, {time.Minute, false, failure}, // pauses grow
			{0, true, nil}, {0, false, failure}, {0, false, failure}, // a session that was of use
			{time.Minute, true, failure}, {0, false, failure}, // a long connection
		}
		var pauses []time.Duration
		n := 0
		Keep(ctx, func() (bool, error) {
			s := sessions[n]
			if n++; n == len(sessions) {
				cancel()
			}
			time.Sleep(s.lasts)
			return s.connected, s.err
		}, func(_ error, pause time.Duration) { pauses = append(pauses, pause) })
		const ms = time.Millisecond
		want := []time.Duration{50 * ms, 100 * ms, 200 * ms, 50 * ms, 100 * ms, 50 * ms}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

func TestRetryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		calls := 0
		Do(ctx, 10*time.Millisecond, 20*time.Millisecond, func() bool { calls++; return true })
		if calls != 6 { // at 0, 10, 30, 50, 70, 90
			t.Errorf("%d calls", calls)
		}
		Do(t.Context(), time.Hour, time.Hour, func() bool { calls++; return false })
		if calls != 7 {
			t.Errorf("%d calls", calls)
		}
	})
}
