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

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

const (
	// deadline is how long a launch may take in all. Neutron waits 60 s.
	deadline = 50 * time.Second
	// turn is how long it may wait for its turn, and the start may take at most: less
	// than the deadline, so that the service reports the reason.
	turn = 40 * time.Second
	// maxRepeats is how often a launch is repeated whose connection broke, and
	// repeatDelay the time between. A service that restarts is back in a second,
	// and its sockets take calls meanwhile.
	maxRepeats  = 5
	repeatDelay = 200 * time.Millisecond
	// lookTimeout is how long an interrupted shim looks what became of its launch.
	lookTimeout = time.Second
)

// runLaunch starts a sidecar and returns when it is ready. It prints nothing.
func runLaunch(p program, name string, args []string) error {
	parameters := interfaces.LaunchParameters{Profile: name, Arguments: args, TimeoutUSec: new(turn.Microseconds())}
	if tag := os.Getenv("PROCESS_TAG"); tag != "" {
		parameters.ProcessTag = &tag
	}
	began := time.Now()
	return interruptible(func(ctx context.Context, svc service) error {
		reply, err := launch(ctx, svc, parameters, began)
		if err == nil && reply.StandIn != nil {
			err = leaveStandIn(ctx, svc, p, parameters, reply)
		}
		return err
	}, func(svc service) string { return whatBecame(svc, parameters, began) })
}

// launch launches. If the connection broke, because the service was restarted, it
// repeats the launch, which may have begun.
func launch(ctx context.Context, svc service, p interfaces.LaunchParameters, began time.Time) (*interfaces.LaunchReply, error) {
	reply, err := svc.LaunchReply(ctx, p)
	for range maxRepeats {
		if !errors.Is(err, client.ErrInterrupted) {
			break
		}
		select {
		case <-time.After(repeatDelay):
		case <-ctx.Done():
			return nil, err
		}
		reply, err = client.LaunchAgain(ctx, svc, p, began)
	}
	return reply, err
}

// whatBecame says what became of a launch that was given up. The service drops a
// launch that had not begun, and carries a start through that had begun, which its
// caller must learn.
func whatBecame(svc service, p interfaces.LaunchParameters, began time.Time) string {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	all, err := svc.List(ctx, interfaces.ListParameters{Profile: &p.Profile})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return "the launch was given up; if its start had begun, the service carries it through, and 'sidecarctl list' on the host shows it"
	}
	for _, s := range all {
		asked := s.Context != nil && s.Context.Profile == p.Profile && slices.Equal(s.Context.Arguments, p.Arguments)
		if asked && client.StartedSince(s, began) {
			return fmt.Sprintf("the start of sidecar %s had begun and is carried through; 'sidecarctl stop %s' on the host ends it, the next launch replaces it", s.ID, s.ID)
		}
	}
	return "the launch was given up, nothing was started"
}

// runStop stops the sidecar of a launch with the same arguments, apart from the first:
// dibbler-client stop -w DIR ends the sidecar of dibbler-client start -w DIR.
func runStop(name string, args []string) error {
	return interruptible(func(ctx context.Context, svc service) error {
		return stopLaunched(ctx, svc, name, args)
	}, func(service) string { return "the stop was given up; if it had begun, it is carried through" })
}

func stopLaunched(ctx context.Context, svc service, name string, args []string) error {
	all, err := svc.List(ctx, interfaces.ListParameters{Profile: &name})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return err
	}
	for _, s := range all {
		if s.Context == nil || len(s.Context.Arguments) == 0 || !slices.Equal(s.Context.Arguments[1:], args[1:]) {
			continue
		}
		_, err := svc.Stop(ctx, interfaces.StopParameters{ID: s.ID})
		if errors.Is(err, interfaces.ErrNoSuchSidecar) {
			err = nil // it ended meanwhile
		}
		for _, pid := range ownProcesses.standInsOf(s.ID) {
			_ = killDirectly(pid, lookSignal, isStandInOf(pid, s.ID)) // else it looks a little later
		}
		return err
	}
	return fmt.Errorf("no %s was started with %q: nothing to stop", name, args[1:])
}

// interrupted is the error of a call that a signal ended. It says what became of it.
type interrupted struct {
	signal syscall.Signal
	became string
}

func (i *interrupted) Error() string { return "interrupted: " + i.became }

// interruptible connects to the service and calls work, with a context that ends at the
// deadline or with SIGINT or SIGTERM. A second signal ends the process at once.
func interruptible(work func(context.Context, service) error, became func(service) string) error {
	svc, err := connect()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), deadline)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
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
	err = work(ctx, svc)
	var i *interrupted
	if errors.As(context.Cause(ctx), &i) {
		return &interrupted{i.signal, became(svc)}
	}
	return err
}
