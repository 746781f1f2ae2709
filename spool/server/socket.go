package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// Socket is the service at the socket in an agent's directory, which it names.
type Socket string

// LaunchReply calls Launch.
func (s Socket) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	return ask(s, func(c *client.Client) (*interfaces.LaunchReply, error) { return c.LaunchReply(ctx, p) })
}

// List calls List.
func (s Socket) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	return ask(s, func(c *client.Client) ([]interfaces.Sidecar, error) { return c.List(ctx, p) })
}

// Stop calls Stop.
func (s Socket) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	return ask(s, func(c *client.Client) (*interfaces.StopReply, error) { return c.Stop(ctx, p) })
}

// Signal calls Signal.
func (s Socket) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	_, err := ask(s, func(c *client.Client) (struct{}, error) { return struct{}{}, c.Signal(ctx, p) })
	return err
}

// ask makes one call over the socket that open has opened: the agent can change what
// its path names.
func ask[T any](s Socket, call func(*client.Client) (T, error)) (reply T, err error) {
	address := "unix:" + filepath.Join(string(s), interfaces.Name)
	socket, err := s.open()
	if err != nil {
		return reply, &client.UnreachableError{Address: address, Err: err}
	}
	defer socket.Close()
	c, err := client.New(procFD(socket))
	if err != nil {
		return reply, err
	}
	reply, err = call(c)
	var unreachable *client.UnreachableError
	if errors.As(err, &unreachable) {
		unreachable.Address = address // and not the path of the file descriptor
	}
	return reply, err
}

// open opens the socket with O_PATH (open(2)). The agent's container may be able to
// write into the directory, so links are not followed: one could lead to another
// agent's socket, or to the host's, where root may do anything. A socket that the
// agent itself has made answers nobody but the agent.
func (s Socket) open() (*os.File, error) {
	dir, err := os.OpenFile(string(s), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	socket, err := openBeneath(dir, interfaces.Name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	st, err := statOf(socket)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = fmt.Errorf("%s in %s is not a socket", interfaces.Name, string(s))
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}
