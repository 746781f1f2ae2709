package main

import (
	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newList(t *tool) *cobra.Command {
	var agent, profile, netns string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sidecars",
		Long:    "List the sidecars that every given option matches. Nothing that matches is an empty list, not a failure.",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.service()
			if err != nil {
				return err
			}
			sidecars, err := c.List(cmd.Context(), interfaces.ListParameters{
				Agent:            given(cmd, "agent", agent),
				Profile:          given(cmd, "profile", profile),
				NetworkNamespace: given(cmd, "netns", netns),
			})
			if err != nil {
				return err
			}
			t.out.sidecars(sidecars)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&agent, "agent", "", "only those of this agent")
	flags.StringVar(&profile, "profile", "", "only those of this profile")
	flags.StringVar(&netns, "netns", "", "only those in this network namespace, by its name below /run/netns")
	t.complete(cmd, "profile", t.profileNames)
	t.complete(cmd, "netns", namespaces)
	return cmd
}
