package main

import (
	"slices"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newProfiles(t *tool) *cobra.Command {
	var agent string
	cmd := &cobra.Command{
		Use:               "profiles [NAME]",
		Short:             "List what may be launched, or show one profile with its rules",
		Long:              "List the profiles. With a name, show that profile with the rules for its arguments.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: t.firstProfile,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.service()
			if err != nil {
				return err
			}
			profiles, err := c.ListProfiles(cmd.Context(), given(cmd, "agent", agent))
			if err != nil {
				return err
			}
			if len(args) == 0 {
				t.out.profiles(profiles)
				return nil
			}
			i := slices.IndexFunc(profiles, func(p interfaces.Profile) bool { return p.Name == args[0] })
			if i < 0 {
				return &interfaces.NoSuchProfileError{Profile: args[0]}
			}
			t.out.profile(&profiles[i])
			return nil
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "only those granted to this agent; implied on an agent's socket")
	return cmd
}
