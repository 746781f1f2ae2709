package main

import (
	"strings"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newSignal(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:               "signal ID SIGNAL",
		Short:             "Send a signal to a side process",
		Long:              "Send a signal to a side process. SIGHUP, HUP and hup are the same; allowed are " + strings.Join(interfaces.Signals, ", ") + ".",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: t.idAndSignal,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sidecarID(args[0])
			if err != nil {
				return err
			}
			c, err := t.service()
			if err != nil {
				return err
			}
			name := "SIG" + strings.TrimPrefix(strings.ToUpper(args[1]), "SIG")
			if err := c.Signal(cmd.Context(), interfaces.SignalParameters{ID: id, Signal: name}); err != nil {
				return err
			}
			t.out.signalled()
			return nil
		},
	}
}
