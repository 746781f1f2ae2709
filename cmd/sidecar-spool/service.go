package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool/drain"
)

// service is the agent's own socket, with errors that the drain can tell apart.
type service struct{ directory string } // the agent's, which holds the socket

func (s service) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	return ask(s, func(c *client.Client) (*interfaces.LaunchReply, error) { return c.LaunchReply(ctx, p) })
}

func (s service) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	return ask(s, func(c *client.Client) ([]interfaces.Sidecar, error) { return c.List(ctx, p) })
}

func (s service) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	return ask(s, func(c *client.Client) (*interfaces.StopReply, error) { return c.Stop(ctx, p) })
}

func (s service) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	_, err := ask(s, func(c *client.Client) (struct{}, error) { return struct{}{}, c.Signal(ctx, p) })
	return err
}

// ask makes one call, to what [drain.OpenSocket] has opened: the socket's path is
// the agent's to change.
func ask[T any](s service, call func(*client.Client) (T, error)) (reply T, err error) {
	socket, err := drain.OpenSocket(s.directory)
	if err != nil {
		return reply, s.translate(&client.UnreachableError{Err: err})
	}
	defer socket.Close()
	c, err := client.New(fmt.Sprintf("/proc/self/fd/%d", socket.Fd()))
	if err != nil {
		return reply, err
	}
	reply, err = call(c)
	return reply, s.translate(err)
}

// translate tells the drain whether a call that failed was made at all.
func (s service) translate(err error) error {
	var unreachable *client.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		address := "unix:" + filepath.Join(s.directory, interfaces.Name)
		return fmt.Errorf("%w: %w", drain.ErrUnreachable, &client.UnreachableError{Address: address, Err: unreachable.Err})
	case errors.Is(err, client.ErrInterrupted):
		return fmt.Errorf("%w: %w", drain.ErrInterrupted, err)
	}
	return err
}
