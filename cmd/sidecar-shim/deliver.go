package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// errStarting says that a sidecar got no signal because it is starting.
var errStarting = errors.New("the sidecar is starting and takes no signals yet")

// killAtOnce is how long a stop that stands for a SIGKILL lets the process end: the
// shortest time that the service takes.
const killAtOnce = time.Microsecond

// deliver asks the service to send a signal to a sidecar. A sidecar that is starting gets
// no signal, even if its pid file is written already: a program that has not installed its
// handlers would die of SIGHUP. Instead, a signal that ends a process stops the sidecar;
// for any other signal deliver returns errStarting, and the caller tries again. ours
// reports whether the sidecar that is starting is the one that the caller means.
func deliver(ctx context.Context, svc service, id, name string, ours func(interfaces.Sidecar) bool) error {
	unknown := svc.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: name})
	if !errors.Is(unknown, interfaces.ErrNoSuchSidecar) {
		return unknown
	}
	all, err := svc.List(ctx, interfaces.ListParameters{ID: &id})
	switch {
	case err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar):
		return fmt.Errorf("%w (assumed, because the sidecar cannot be listed: %w)", errStarting, err)
	case len(all) == 0 || !ours(all[0]):
		return unknown
	}
	switch state := all[0].Runtime.State; {
	case state == interfaces.StateReady: // by now
		return errStarting
	case state != interfaces.StateStarting:
		return unknown
	case !ends(name):
		return errStarting
	}
	_, err = svc.Stop(ctx, stopFor(id, name))
	return err
}

// stopFor returns the stop that stands for a signal.
func stopFor(id, name string) interfaces.StopParameters {
	p := interfaces.StopParameters{ID: id}
	if name == "SIGKILL" {
		p.TimeoutUSec = new(killAtOnce.Microseconds())
	}
	return p
}
