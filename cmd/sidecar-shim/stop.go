package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tripleo.io/sidecar/interfaces"
)

// runStop stops what a launch with the same arguments has started. The first one is
// the verb: dibbler-client stop -w DIR ends what dibbler-client start -w DIR began.
func runStop(name string, args []string) error {
	svc, err := connect()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err = stopLaunched(ctx, svc, name, args)
	if cause := interruption(ctx); cause != nil {
		return cause.with("the stop was given up; if it had begun, it is carried through")
	}
	return err
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
