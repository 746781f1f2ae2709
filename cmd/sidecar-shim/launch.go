package main

import (
	"context"
	"errors"
	"os"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

const (
	// deadline is how long a launch may take in all. Neutron waits 60 s.
	deadline = 50 * time.Second
	// turn is how long it may wait for its turn, and the start may take at most:
	// less than the deadline, so that the service says what was wrong.
	turn = 40 * time.Second
	// maxRepeats is how often a launch is repeated whose connection broke, and
	// repeatDelay the time between. A service that restarts is back in a second,
	// and its sockets take calls meanwhile.
	maxRepeats  = 5
	repeatDelay = 200 * time.Millisecond
)

// runLaunch starts a sidecar and returns when it is ready. It prints nothing.
func runLaunch(p program, name string, args []string) error {
	svc, err := connect()
	if err != nil {
		return err
	}
	began := time.Now()
	ctx, stop := untilInterrupted()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	parameters := parametersOf(name, args)
	reply, err := launch(ctx, svc, parameters, began)
	if err == nil && reply.StandIn != nil {
		err = leaveStandIn(ctx, svc, p, parameters, reply)
	}
	if cause := interruption(ctx); cause != nil {
		return cause.with(whatBecame(svc, parameters, began))
	}
	return err
}

func parametersOf(name string, args []string) interfaces.LaunchParameters {
	p := interfaces.LaunchParameters{
		Profile:     name,
		Arguments:   args,
		TimeoutUSec: new(turn.Microseconds()),
	}
	if tag, ok := os.LookupEnv("PROCESS_TAG"); ok && tag != "" {
		p.ProcessTag = &tag
	}
	return p
}

// launch asks for a launch, again if the connection broke: the service was
// restarted then, and it is not known whether it had begun.
func launch(ctx context.Context, svc service, p interfaces.LaunchParameters, began time.Time) (*interfaces.LaunchReply, error) {
	reply, err := svc.Launch(ctx, p)
	for range maxRepeats {
		if !errors.Is(err, client.ErrInterrupted) || pause(ctx, repeatDelay) != nil {
			break
		}
		reply, err = launchAgain(ctx, svc, p, began)
	}
	return reply, err
}

// launchAgain repeats a launch so that nothing is started twice: what runs is kept
// if it was started since we began, and so by us.
func launchAgain(ctx context.Context, svc service, p interfaces.LaunchParameters, began time.Time) (*interfaces.LaunchReply, error) {
	keep := p
	keep.Mode = new(interfaces.ModeKeep)
	reply, err := svc.Launch(ctx, keep)
	switch {
	case errors.Is(err, interfaces.ErrSidecarExists):
		return svc.Launch(ctx, p)
	case err != nil:
		return nil, err
	case !startedSince(reply.Sidecar, began):
		return svc.Launch(ctx, p)
	}
	if reply.StandIn != nil {
		reply.StandIn.Adopted = false
	}
	return reply, nil
}

// startedSince reports whether the sidecar's start began after t. The host and its
// containers have one clock.
func startedSince(s interfaces.Sidecar, t time.Time) bool {
	return s.Runtime.StartedUSec != nil && *s.Runtime.StartedUSec >= t.UnixMicro()
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
