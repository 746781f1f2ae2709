package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// service is what the shim asks for, over the agent's socket or through its spool.
// The errors are those of packages interfaces and client.
type service interface {
	Launch(context.Context, interfaces.LaunchParameters) (*interfaces.LaunchReply, error)
	List(context.Context, interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Signal(context.Context, interfaces.SignalParameters) error
	Stop(context.Context, interfaces.StopParameters) (*interfaces.StopReply, error)
}

// connect returns the way to the service that the settings of this image name. The
// spool is for agents without a socket: where there is one, it is used, and what is
// wrong with it is told.
func connect() (service, error) {
	s, err := readSettings(settingsFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(s.Address)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(strings.TrimPrefix(c.Address(), "unix:")); errors.Is(err, fs.ErrNotExist) && isSpool(s.Spool) {
		return spooled{&spool.Client{Directory: s.Spool}}, nil
	}
	return socket{c}, nil
}

// socket is the service at the agent's socket. It finds out itself in which network
// namespace the caller is: the connection is made by this very process.
type socket struct{ *client.Client }

func (s socket) Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	return s.LaunchReply(ctx, p)
}
