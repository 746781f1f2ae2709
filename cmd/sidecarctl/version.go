package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
)

// versions are those of the tool and, if it can be asked, of the service.
type versions struct {
	Sidecarctl string       `json:"sidecarctl"`
	Service    *client.Info `json:"service"`
}

func newVersion(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this tool, and of the service if it answers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.connect(false)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
			defer cancel()
			info, err := c.Info(ctx)
			t.out.versions(versions{Sidecarctl: t.version, Service: info}, err)
			return nil
		},
	}
}
