package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// lookTimeout is how long an interrupted shim looks for what became of its launch.
const lookTimeout = time.Second

// interrupted says that a signal ended the call, and what became of it.
type interrupted struct {
	signal syscall.Signal
	became string
}

func (i *interrupted) Error() string { return "interrupted: " + i.became }

func (i *interrupted) with(became string) error { return &interrupted{i.signal, became} }

// untilInterrupted returns a context that SIGINT and SIGTERM end. A second one ends
// the process at once.
func untilInterrupted() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			number, _ := s.(syscall.Signal)
			cancel(&interrupted{signal: number})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// interruption returns the signal that ended the context, or nil.
func interruption(ctx context.Context) *interrupted {
	var i *interrupted
	if errors.As(context.Cause(ctx), &i) {
		return i
	}
	return nil
}

// whatBecame says what became of a launch that was given up. A service that had not
// begun forgets it; a start that had begun is carried through, and shall not stay
// behind unnoticed.
func whatBecame(svc service, p interfaces.LaunchParameters, began time.Time) string {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	all, err := svc.List(ctx, interfaces.ListParameters{Profile: &p.Profile})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return "the launch was given up; if its start had begun, the service carries it through, and 'sidecarctl list' on the host shows it"
	}
	for _, s := range all {
		if asked(s, p) && startedSince(s, began) {
			return fmt.Sprintf("the start of sidecar %s had begun and is carried through; 'sidecarctl stop %s' on the host ends it, the next launch replaces it", s.ID, s.ID)
		}
	}
	return "the launch was given up, nothing was started"
}

// asked reports whether the sidecar is what the parameters ask for.
func asked(s interfaces.Sidecar, p interfaces.LaunchParameters) bool {
	return s.Context != nil && s.Context.Profile == p.Profile && slices.Equal(s.Context.Arguments, p.Arguments)
}
