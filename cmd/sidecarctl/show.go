package main

import "github.com/spf13/cobra"

func newShow(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "Show all that is known about one sidecar",
		Long:              "Show what was asked for and what is the case now. The name of the sidecar's unit is taken for its ID, too.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.firstID,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sidecarID(args[0])
			if err != nil {
				return err
			}
			c, err := t.service()
			if err != nil {
				return err
			}
			sidecar, err := c.Get(cmd.Context(), id)
			if err != nil {
				return err
			}
			t.out.sidecar(sidecar)
			return nil
		},
	}
}
