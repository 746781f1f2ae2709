package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// pollBeside is the time between two looks for a result that the kernel watches for,
// in case an event was lost.
const pollBeside = 500 * time.Millisecond

// Client asks through one spool. It is safe for use by many goroutines and many
// processes, and needs no closing.
type Client struct {
	Directory string // of the spool, absolute; "" means DefaultDirectory
}

// Launch starts a side process and returns when it is ready. Errors: any of
// package interfaces; *UnreachableError and ErrWithdrawn if nothing was done,
// ErrUnanswered if that is not known. No call lasts longer than MaxAge.
func (c *Client) Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.Sidecar, error) {
	reply, err := c.LaunchReply(ctx, p)
	if err != nil {
		return nil, err
	}
	return &reply.Sidecar, nil
}

// LaunchReply is Launch with the service's whole answer, for callers that leave a
// stand-in.
func (c *Client) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	if p.Arguments == nil {
		p.Arguments = []string{} // null is not a list
	}
	return call[interfaces.LaunchReply](ctx, c, MethodLaunch, p)
}

// List returns the sidecars that every given selector matches. If none matches, the
// slice is empty; but an ID that does not exist is interfaces.ErrNoSuchSidecar.
func (c *Client) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	reply, err := call[ListReply](ctx, c, MethodList, p)
	if err != nil {
		return nil, err
	}
	return reply.Sidecars, nil
}

// Stop stops a sidecar and returns when it is gone, with how its process ended
// as far as that is known.
func (c *Client) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	return call[interfaces.StopReply](ctx, c, MethodStop, p)
}

// Signal sends a signal, by its name such as SIGHUP, to a sidecar's process. If the
// host's side of the spool is killed meanwhile, the signal may be sent twice.
func (c *Client) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	_, err := call[interfaces.SignalReply](ctx, c, MethodSignal, p)
	return err
}

// call hands a request in, waits for its result and decodes it.
func call[T any](ctx context.Context, c *Client, method string, parameters any) (*T, error) {
	text, err := json.Marshal(parameters)
	if err != nil {
		return nil, err
	}
	text, err = json.Marshal(Call{Method: method, Parameters: text})
	if err != nil {
		return nil, err
	}
	if len(text) > MaxRequest {
		return nil, fmt.Errorf("the request has %d bytes, which is more than a spool takes (%d)", len(text), MaxRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, MaxAge)
	defer cancel()
	text, err = newRequest(c.Directory).exchange(ctx, text)
	if err != nil {
		return nil, err
	}
	return decode[T](text)
}

func decode[T any](text []byte) (*T, error) {
	var reply Reply
	if err := json.Unmarshal(text, &reply); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	if reply.Error != "" {
		if err, known := interfaces.FromVarlink(reply.Error, reply.Parameters); known {
			return nil, err
		}
		return nil, fmt.Errorf("the service answered error %q %.500s", reply.Error, reply.Parameters)
	}
	var out T
	if err := json.Unmarshal(reply.Parameters, &out); err != nil {
		return nil, fmt.Errorf("%w: parameters: %v", ErrProtocol, err)
	}
	return &out, nil
}

// exchange hands the text in and returns the text of the result.
func (r request) exchange(ctx context.Context, text []byte) ([]byte, error) {
	results := filepath.Join(r.directory, Results)
	if _, err := os.Stat(results); err != nil {
		return nil, r.unreachable(err)
	}
	watcher := Watch(results)
	defer watcher.Close()
	if err := r.submit(text); err != nil {
		return nil, r.unreachable(err)
	}
	for {
		result, err := r.result()
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			return result, err
		case ctx.Err() != nil:
			return r.withdraw(ctx)
		}
		watcher.Wait(ctx, pollBeside, r.file, nil)
	}
}
