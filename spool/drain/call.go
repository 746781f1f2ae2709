package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

const (
	// callTimeout is the last bound on one call. A launch may take ten minutes
	// (io.tripleo.Sidecar), and the service's own deadlines come before this.
	callTimeout = 15 * time.Minute
	// connectPause is the time between two tries to reach the service.
	connectPause = 100 * time.Millisecond
)

// carryOut asks the service for what a request says, and leaves its result. When
// ctx ends before that, the request stays claimed.
func (d *drain) carryOut(ctx context.Context, r *request) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		reply, err := d.ask(ctx, r)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			return
		case errors.Is(err, ErrInterrupted):
			r.again = true
		case !errors.Is(err, ErrUnreachable):
			d.finishRequest(r, reply, err)
			return
		}
		if d.now().Sub(r.modified) > spool.MaxAge {
			d.finishRequest(r, nil, err)
			return
		}
		pause(ctx, connectPause)
	}
}

func (d *drain) finishRequest(r *request, reply any, err error) {
	if err != nil {
		d.answer(r.name, failure(err))
	} else {
		d.answer(r.name, success(reply))
	}
	d.dismiss(spool.File(r.name))
}

// ask makes the call that a request is about.
func (d *drain) ask(ctx context.Context, r *request) (reply any, err error) {
	switch p := r.parameters.(type) {
	case *interfaces.LaunchParameters:
		if r.again {
			return d.launchAgain(ctx, r, *p)
		}
		return d.Service.LaunchReply(ctx, *p)
	case *interfaces.ListParameters:
		sidecars, err := d.Service.List(ctx, *p)
		return spool.ListReply{Sidecars: append([]interfaces.Sidecar{}, sidecars...)}, err // [], not null
	case *interfaces.StopParameters:
		return d.Service.Stop(ctx, *p)
	case *interfaces.SignalParameters:
		return interfaces.SignalReply{}, d.Service.Signal(ctx, *p)
	}
	return nil, fmt.Errorf("no call for %T", r.parameters) // parse makes no others
}

// launchAgain carries out a launch that may have been asked for already. What was
// started after the claim was started for it, and is the answer. If something else
// is there, or nothing was started, it is carried out as it was written.
func (d *drain) launchAgain(ctx context.Context, r *request, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	keep := p
	keep.Mode = new(interfaces.ModeKeep)
	reply, err := d.Service.LaunchReply(ctx, keep)
	switch {
	case err == nil && startedSince(reply.Sidecar, r.claimed):
		if reply.StandIn != nil {
			reply.StandIn.Adopted = false // it was not there when it was asked for
		}
		return reply, nil
	case err != nil && !errors.Is(err, interfaces.ErrSidecarExists):
		return nil, err
	}
	return d.Service.LaunchReply(ctx, p)
}

func startedSince(s interfaces.Sidecar, claimed time.Time) bool {
	return s.Runtime.StartedUSec != nil && *s.Runtime.StartedUSec >= claimed.UnixMicro()
}

func success(reply any) spool.Reply {
	text, err := json.Marshal(reply)
	if err != nil {
		return failure(err)
	}
	if len(text) > spool.MaxResult/2 { // room for the rest of the result
		return failure(&interfaces.OverloadedError{Reason: fmt.Sprintf("the answer has %d bytes, which is more than a spool takes: ask for less", len(text))})
	}
	return spool.Reply{Parameters: text}
}

// failure is the result that says err. What is no error of the interface is the
// host's failure: the caller can do nothing about it.
func failure(err error) spool.Reply {
	row, parameters, known := interfaces.ToWire(err)
	if !known {
		row, parameters, _ = interfaces.ToWire(&interfaces.HostFailureError{Reason: err.Error()})
	}
	result := spool.Reply{Error: row.Varlink}
	if parameters != nil {
		result.Parameters, _ = json.Marshal(parameters) // strings and numbers
	}
	return result
}
