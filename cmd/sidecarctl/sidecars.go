package main

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// selectors are the options of list and of monitor.
type selectors struct {
	agent, profile string
}

func (o *selectors) addTo(t *tool, cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.agent, "agent", "", "only sidecars of this `AGENT`")
	cmd.Flags().StringVar(&o.profile, "profile", "", "only sidecars of this `PROFILE`")
	complete(cmd, "profile", t.completeProfile)
}

func newList(t *tool) *cobra.Command {
	var o selectors
	var netns string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sidecars",
		Long:    "List the sidecars that every given option matches. If none matches, the list is\nempty, and the exit code is 0. 'sidecarctl ls' is the same.",
		Args:    cobra.NoArgs,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, _ []string) error {
			sidecars, err := s.List(cmd.Context(), interfaces.ListParameters{
				Agent:            given(cmd, "agent", o.agent),
				Profile:          given(cmd, "profile", o.profile),
				NetworkNamespace: given(cmd, "netns", netns),
			})
			if err == nil {
				t.out.sidecars(sidecars)
			}
			return err
		}),
	}
	o.addTo(t, cmd)
	cmd.Flags().StringVar(&netns, "netns", "", "only sidecars in this network `NAMESPACE`, by its name in /run/netns")
	complete(cmd, "netns", completeNamespace)
	return cmd
}

func newMonitor(t *tool) *cobra.Command {
	var o selectors
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Show what happens to sidecars",
		Long: `Show the sidecars that every given option matches, and then what happens to
them, one line for each event, until interrupted; an interrupt is not a failure.

    present       the sidecar exists; part of the state that is shown first
    synchronized  the state is complete, and changes follow
    started       its unit is being started, by a launch or by systemd's restart
    ready         the process has shown that it is ready
    changed       something else about it is different, for example that it is being
                  stopped
    failed        the process ended by itself or could not be started
    restarting    the process ended, and systemd starts it again after a delay, as
                  its profile says
    stopped       the sidecar does not exist any more: it was stopped, it ended
                  without failure, or its failed unit was removed
    overrun       too much happened while the output was not read, and events were
                  dropped; the state is shown again

Changes that follow each other within some hundredths of a second can be one line.

With -o json each line is one object of the interface's type Event, which describes
the sidecar.

With --transport dbus the description of the sidecar is read after each event, and
can be newer than the event. A user who had to authenticate for the state gets only
ID and state with later events.

When the service (or the bus that is used) ends or restarts, the command ends with
exit code 6; sidecars go on.`,
		Args: cobra.NoArgs,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, _ []string) error {
			return t.monitor(cmd.Context(), s, interfaces.MonitorParameters{
				Agent:   given(cmd, "agent", o.agent),
				Profile: given(cmd, "profile", o.profile),
			})
		}),
	}
	o.addTo(t, cmd)
	return cmd
}

func (t *tool) monitor(ctx context.Context, s service, p interfaces.MonitorParameters) error {
	t.out.eventHeader()
	for event, err := range s.Monitor(ctx, p) {
		switch {
		case ctx.Err() != nil:
			return nil // interrupted, which is the way to end it
		case errors.Is(err, client.ErrInterrupted):
			return errMonitorEnded
		case err != nil:
			return err
		}
		if t.out.event(&event); t.out.err != nil {
			return nil // run returns t.out.err
		}
	}
	return nil
}

func newShow(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show everything about one sidecar",
		Long: `Show the request that started the sidecar, and its state now.

A sidecar whose state is "waiting" ran when the host went down, and comes back by
itself when its network namespace exists, unless that takes too long.

"image outdated" means that a new launch would run another image: the profile names
another one, or the name stands for another image on the host.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.completeIDs(1),
		RunE: t.calling(1, func(cmd *cobra.Command, s service, args []string) error {
			sidecar, err := s.Get(cmd.Context(), args[0])
			if err == nil {
				t.out.sidecar(sidecar)
			}
			return err
		}),
	}
}

func newSignal(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "signal ID SIGNAL",
		Short: "Send a signal to a side process",
		Long: "Send a signal to the process of a sidecar. The name may be written without SIG, and in\nsmall letters; allowed are " +
			strings.Join(interfaces.Signals, ", ") + ".",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: t.completeIDs(1, interfaces.Signals...),
		RunE: t.calling(1, func(cmd *cobra.Command, s service, args []string) error {
			name := "SIG" + strings.TrimPrefix(strings.ToUpper(args[1]), "SIG")
			err := s.Signal(cmd.Context(), interfaces.SignalParameters{ID: args[0], Signal: name})
			if err == nil {
				t.out.result(interfaces.SignalReply{}, func(io.Writer) {})
			}
			return err
		}),
	}
}

// ended is one sidecar that was stopped: its ID and the interface's reply.
type ended struct {
	ID string `json:"id"`
	interfaces.StopReply
}

func newStop(t *tool) *cobra.Command {
	var limit timeout
	cmd := &cobra.Command{
		Use:   "stop ID…",
		Short: "Stop sidecars, and remove the records of failed sidecars",
		Long: `Stop sidecars one after the other, and show how each process ended. If one of them
cannot be stopped, the others are stopped nevertheless, and the first failure gives
the exit code.

The unit of a failed sidecar is removed; a waiting sidecar does not come back.
Launches of the sidecar that wait for their turn are taken out of the queue, and a
start that is under way is ended.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: t.completeIDs(math.MaxInt),
		RunE: t.calling(math.MaxInt, func(cmd *cobra.Command, s service, ids []string) error {
			stopped := []ended{}
			var errs []error
			for _, id := range ids {
				reply, err := s.Stop(cmd.Context(), interfaces.StopParameters{ID: id, TimeoutUSec: limit.usec})
				if err == nil {
					stopped = append(stopped, ended{id, *reply})
				}
				errs = append(errs, err)
			}
			t.out.stopped(stopped)
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().Var(&limit, "timeout", "how long a process may take to end before it is killed (default, and at most: 5s)")
	return cmd
}
