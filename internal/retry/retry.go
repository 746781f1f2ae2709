// Package retry repeats what failed, with pauses. It does not know what it repeats.
package retry

import (
	"context"
	"time"
)

// Pauses of [Keep].
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// Keep calls session until ctx ends. A session connects, uses the connection and returns
// when the connection has ended; connected says whether it had one. After nil the next session
// begins at once; after an error failed gets the error and the pause that follows. Pauses
// double from 50 ms to 5 s, and start over after nil and after a connection of more than 5 s.
func Keep(ctx context.Context, session func() (connected bool, err error), failed func(err error, pause time.Duration)) {
	for pause := minPause; ctx.Err() == nil; {
		began := time.Now()
		connected, err := session()
		if err == nil || connected && time.Since(began) > maxPause {
			pause = minPause
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		failed(err, pause)
		_ = Pause(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// Do calls f until it returns false or ctx ends, with pauses that double from first to
// longest.
func Do(ctx context.Context, first, longest time.Duration, f func() (again bool)) {
	for pause := first; f() && Pause(ctx, pause) == nil; {
		pause = min(2*pause, longest)
	}
}

// Pause waits for d. If ctx ends before, it returns ctx's error.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
