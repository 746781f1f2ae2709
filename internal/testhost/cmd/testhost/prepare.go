package main

import (
	"github.com/spf13/cobra"

	"tripleo.io/sidecar/internal/testhost"
)

// prepareCommand returns the command that only fills the cache.
func prepareCommand() *cobra.Command {
	var host hostFlags
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Make the cached tree and images of a host, if they are not there",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := host.config()
			if err != nil {
				return err
			}
			return testhost.Prepare(cmd.Context(), config)
		},
	}
	host.add(cmd)
	return cmd
}
