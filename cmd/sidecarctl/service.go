package main

import (
	"context"
	"iter"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
)

// The transports.
const (
	transportVarlink = "varlink"
	transportDBus    = "dbus"
)

// service is the service on whichever transport: the methods of the interface, as
// packages client and client/dbus have them.
type service interface {
	launcher
	keeper
	ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error)
	Info(ctx context.Context) (*client.Info, error)
}

// launcher starts sidecars.
type launcher interface {
	Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.Sidecar, error)
	Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error)
}

// keeper works with sidecars that are there.
type keeper interface {
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Get(ctx context.Context, id string) (*interfaces.Sidecar, error)
	Monitor(ctx context.Context, p interfaces.MonitorParameters) iter.Seq2[interfaces.Event, error]
	stopper
	Signal(ctx context.Context, p interfaces.SignalParameters) error
}

// stopper stops sidecars.
type stopper interface {
	Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error)
}

// service returns the service that the options name, for a command that a person may
// have to authenticate for.
func (t *tool) service() (service, error) {
	asks := !t.noAskPassword && t.terminal.asks()
	s, err := t.connect(asks)
	if err == nil && asks && t.agent == nil {
		t.agent = t.terminal.startAgent()
	}
	return s, err
}

// connect returns the service that the options name.
func (t *tool) connect(interactive bool) (service, error) {
	if t.transport == transportDBus {
		c, err := dbus.New(t.address)
		switch {
		case err != nil:
			return nil, &usageError{err.Error()}
		case interactive:
			return c.WithInteractiveAuthentication(), nil
		}
		return c, nil
	}
	c, err := client.New(t.address)
	switch {
	case err != nil:
		return nil, &usageError{err.Error()}
	case interactive:
		return c.WithInteractiveAuthentication(), nil
	}
	return c, nil
}
