package main

import (
	"errors"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

func newMonitor(t *tool) *cobra.Command {
	var agent, profile string
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Show what happens to sidecars",
		Long: `Show the sidecars that every given option matches as they are, and then what
happens to them, one line for each event, until interrupted.

present       it is there; part of the state that is shown first
synchronized  the state is complete, and changes follow
started       its unit is being started, by a launch or anew by systemd
ready         the process has shown that it is ready
changed       something else about it is different
failed        the process ended by itself or could not be started
stopped       it is gone
overrun       too much happened at once, and some of it is not shown; the state follows anew

With -o json each line is one object of the interface's type Event.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.service()
			if err != nil {
				return err
			}
			t.out.eventHeader()
			for event, err := range c.Monitor(cmd.Context(), interfaces.MonitorParameters{
				Agent:   given(cmd, "agent", agent),
				Profile: given(cmd, "profile", profile),
			}) {
				switch {
				case cmd.Context().Err() != nil:
					return nil // it is ended this way
				case errors.Is(err, client.ErrInterrupted):
					return errMonitorEnded
				case err != nil:
					return err
				}
				if t.out.event(&event); t.out.err != nil {
					return nil // main tells it
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&agent, "agent", "", "only those of this agent")
	flags.StringVar(&profile, "profile", "", "only those of this profile")
	t.complete(cmd, "profile", t.profileNames)
	return cmd
}
