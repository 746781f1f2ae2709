package service

import (
	"context"
	"errors"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// interruption is how a stop ends a launch that was asked for before it.
type interruption struct {
	netns   *string // the network namespace of the launch, nil for the host's
	stopped context.Context
	stop    context.CancelFunc

	// killAfter is the time that the launch's process gets to exit before it is killed;
	// 0 means the unit's TimeoutStopUSec. Read it only after the interruption.
	killAfter time.Duration
}

func newInterruption(netns *string) *interruption {
	i := &interruption{netns: netns}
	i.stopped, i.stop = context.WithCancel(context.Background())
	return i
}

// interrupt ends the launch. Of several stops the first one's killAfter holds. Only
// one goroutine at a time may call it.
func (i *interruption) interrupt(killAfter time.Duration) {
	if !i.happened() {
		i.killAfter = killAfter
		i.stop()
	}
}

// happened reports whether the launch was interrupted.
func (i *interruption) happened() bool { return i.stopped.Err() != nil }

// bind returns a context that also ends when the launch is interrupted. unbind must
// be called when it is not needed any more.
func (i *interruption) bind(ctx context.Context) (bound context.Context, unbind func()) {
	bound, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(i.stopped, cancel)
	return bound, func() {
		release()
		cancel()
	}
}

// undo stops the unit that an interrupted launch was about to replace or has begun to
// start, and returns the launch's error. systemd takes our calls in their order, so
// the stop finds the unit of a start that was sent and not answered yet. While systemd
// does not answer, the stop is tried again: the unit could come up later.
func (c *Core) undo(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout+2*grace)
	defer cancel()
	for {
		_, err := c.stopUnit(ctx, j.id, j.interruption.killAfter)
		if err == nil || errors.Is(err, systemd.ErrNoSuchUnit) {
			return &interfaces.LaunchStoppedError{ID: j.id.String()}
		}
		if !errors.Is(err, systemd.ErrDisconnected) || pause(ctx, settlePoll) != nil {
			return hostFailure(ctx, "stop the unit of a launch that was stopped", err)
		}
	}
}
