package main

import (
	"context"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
)

const (
	transportVarlink = "varlink"
	transportDBus    = "dbus"
	// infoTimeout bounds a call that is only for suggestions or for the version.
	infoTimeout = 2 * time.Second
)

var transports = []string{transportVarlink, transportDBus}

// service is the interface's methods, as packages client and client/dbus have them.
type service interface {
	Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.Sidecar, error)
	Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error)
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Get(ctx context.Context, id string) (*interfaces.Sidecar, error)
	Monitor(ctx context.Context, p interfaces.MonitorParameters) iter.Seq2[interfaces.Event, error]
	ReadLog(ctx context.Context, p interfaces.ReadLogParameters) iter.Seq2[interfaces.LogEntry, error]
	Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error)
	Signal(ctx context.Context, p interfaces.SignalParameters) error
	ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error)
	CreateNamespace(ctx context.Context, p interfaces.CreateNamespaceParameters) error
	DeleteNamespace(ctx context.Context, p interfaces.DeleteNamespaceParameters) error
	Info(ctx context.Context) (*client.Info, error)
}

// connect returns the service that the options name.
func (t *tool) connect(interactive bool) (service, error) {
	if t.transport == transportDBus {
		c, err := dbus.New(t.address)
		return connected(c, err, interactive)
	}
	c, err := client.New(t.address)
	if err == nil && t.host != "" {
		c = c.WithDialer(through(t.host, c.Address()))
	}
	return connected(c, err, interactive)
}

// transport is the client of one transport.
type transport[C any] interface {
	service
	WithInteractiveAuthentication() C
}

func connected[C transport[C]](c C, err error, interactive bool) (service, error) {
	switch {
	case err != nil:
		return nil, &usageError{err.Error()}
	case interactive:
		return c.WithInteractiveAuthentication(), nil
	}
	return c, nil
}

// calling returns a command's RunE that calls the service, for which a person may have to
// authenticate. The first arguments, as many as ids, are IDs and checked before.
func (t *tool) calling(ids int, do func(cmd *cobra.Command, s service, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		for i := range min(ids, len(args)) {
			id, err := sidecarID(args[i])
			if err != nil {
				return err
			}
			args[i] = id
		}
		asks := !t.noAskPassword && t.host == "" && t.terminal.asks()
		s, err := t.connect(asks)
		if err != nil {
			return err
		}
		if asks {
			t.agent = t.terminal.startAgent()
		}
		return do(cmd, s, args)
	}
}

// versions has the version of the tool and, if it answers, of the service.
type versions struct {
	Sidecarctl string       `json:"sidecarctl"`
	Service    *client.Info `json:"service"`
}

func newVersion(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this tool, and of the service if it answers",
		Long:  "Show the version of the tool, and of the service if it answers.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.connect(false)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), infoTimeout)
			defer cancel()
			info, err := s.Info(ctx)
			t.out.versions(versions{Sidecarctl: t.version, Service: info}, err)
			return nil
		},
	}
}
